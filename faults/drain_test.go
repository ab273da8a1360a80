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

// Who never got to speak, however far they came, does not hold up a shutdown.
func TestShutdownLetsGoOfWhoNeverSpoke(t *testing.T) {
	t.Parallel()
	ee := modes[2]
	secret, err := mtproxy.ParseSecret(ee.secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, say := range map[string]func(*testing.T, net.Conn){
		"nothing": func(*testing.T, net.Conn) {},
		"a hello": func(t *testing.T, conn net.Conn) {
			client := faketls.Client(conn, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
			if err := client.Handshake(limited(t)); err != nil {
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
		"a stranger's words": func(t *testing.T, conn net.Conn) {
			io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
			if _, err := io.ReadFull(conn, make([]byte, len(hostAnswer))); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dc := startDataCenter(t, listen(t))
			p, address := startProxy(t, ee, newFrontingHost(t), leadingTo(dc), listen(t))
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			eventually(t, "it is accepted", func() bool { return p.Stats().Open == 1 })
			say(t, conn)
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			if err := p.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// "Streams in flight finish": also one whose client takes nothing for a few
// seconds, as phones do that change their network.
func TestShutdownWaitsForBytesUnderWay(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		absent(t, "a shutdown that waits for bytes in the kernel", errors.ErrUnsupported)
		return
	}
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			dc := startDataCenter(t, listen(t))
			p, address := startProxy(t, m, newFrontingHost(t), leadingTo(dc), listen(t))
			box := newMiddlebox(t, address)
			c := mustDial(t, m, box.address(), 2, nil)
			moved := make(chan error, 1)
			go func() {
				defer c.Close()
				moved <- c.Download(limited(t), 1500)
			}()
			// In the middle of it, with more to come than sockets hold.
			eventually(t, "bytes flow", func() bool { return box.passed.Load() > 1<<20 })
			box.freeze()
			time.AfterFunc(2500*time.Millisecond, box.thaw)
			if err := p.Shutdown(limited(t)); err != nil {
				t.Error(err)
			}
			if err := <-moved; err != nil {
				t.Errorf("the stream was cut: %v", err)
			}
		})
	}
}
