package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// A shutdown does not wait for connections that have sent no message, in any
// stage of their handshake.
func TestShutdownClosesConnectionsWithoutAMessage(t *testing.T) {
	t.Parallel()
	secret, err := mtproxy.ParseSecret(ee.secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, send := range map[string]func(*testing.T, net.Conn){
		"nothing": func(*testing.T, net.Conn) {},
		"a hello": func(t *testing.T, conn net.Conn) {
			client := faketls.Client(conn, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
			if err := client.Handshake(testContext(t)); err != nil {
				t.Fatal(err)
			}
		},
		"an init payload": func(t *testing.T, conn net.Conn) {
			client := faketls.Client(conn, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
			init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, DC: 2, Key: &secret.Key})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Write(init[:]); err != nil {
				t.Fatal(err)
			}
		},
		"an HTTP request": func(t *testing.T, conn net.Conn) {
			io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
			if _, err := io.ReadFull(conn, make([]byte, len(hostAnswer))); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dc := startDataCenter(t, listen(t))
			p, address := startProxy(t, ee, newFrontingHost(t), oneDataCenter(dc), listen(t))
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			eventually(t, "the connection is accepted", func() bool { return p.Stats().Open == 1 })
			send(t, conn)
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()
			if err := p.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// A shutdown waits for streams in flight, even if a client reads nothing for longer
// than a session may be idle, as a phone that changes its network.
func TestShutdownWaitsForStreamsInFlight(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		reportNotRun(t, "a shutdown that waits for bytes in the kernel", errors.ErrUnsupported)
		return
	}
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			dc := startDataCenter(t, listen(t))
			p, address := startProxy(t, m, newFrontingHost(t), oneDataCenter(dc), listen(t))
			box := newMiddlebox(t, address)
			c := mustDial(t, m, box.address(), 2, nil)
			moved := make(chan error, 1)
			go func() {
				defer c.Close()
				moved <- c.Download(testContext(t), 1500)
			}()
			// Freeze in mid-stream: the rest is more than the sockets' buffers hold.
			eventually(t, "bytes flow", func() bool { return box.forwarded.Load() > 1<<20 })
			box.freeze()
			time.AfterFunc(1500*time.Millisecond, box.thaw)
			if err := p.Shutdown(testContext(t)); err != nil {
				t.Error(err)
			}
			if err := <-moved; err != nil {
				t.Errorf("the stream was cut: %v", err)
			}
		})
	}
}
