package fronting

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// A tunnel ends when no byte has moved in either direction for the idle timeout,
// and no earlier.
func TestIdleTunnelIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream, host := net.Pipe()
		p, _ := newPool(t, Config{
			Hosts:       []Host{{Domain: "a.example"}},
			DialContext: func(context.Context, string, string) (net.Conn, error) { return upstream, nil },
		})
		client, server := net.Pipe()
		done := start(t, func() (Result, error) { return p.Tunnel(t.Context(), server, Client{}, nil) })
		last := time.Now()
		for range 10 {
			time.Sleep(DefaultIdleTimeout * 9 / 10)
			go io.WriteString(client, "up")
			expect(t, host, "up")
			time.Sleep(DefaultIdleTimeout * 9 / 10)
			last = time.Now()
			go io.WriteString(host, "down")
			expect(t, client, "down")
		}
		got := <-done
		took := time.Since(last)
		if got.err != errIdle || took < DefaultIdleTimeout || took > DefaultIdleTimeout+2*DefaultIdleTimeout/idleChecks {
			t.Errorf("%+v after %v", got, took)
		}
		expectEnd(t, client)
		expectEnd(t, host)
	})
}

// The idle timeout holds between sockets too, where the kernel moves the bytes.
func TestIdleSocketsAreEnded(t *testing.T) {
	const idle = 2 * time.Second
	if err := loopback.Undisturbed(idle/4, func() error { return idleSocket(t, idle) }); err != nil {
		t.Error(err)
	}
}

func idleSocket(t *testing.T, idle time.Duration) error {
	ended := make(chan struct{})
	address := serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "hello")
		io.Copy(io.Discard, conn)
		close(ended)
	})
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}, IdleTimeout: idle})
	client, done := tunneled(t, p)
	expect(t, client, "hello")
	begin := time.Now()
	var err error
	for time.Since(begin) < 2*idle && err == nil {
		_, err = io.WriteString(client, "still here")
		time.Sleep(idle / 20)
	}
	select {
	case got := <-done:
		return fmt.Errorf("ended while bytes were moving: %+v", got)
	default:
	}
	if err != nil {
		return err
	}
	if got := <-done; got.err != errIdle {
		t.Errorf("%+v", got)
	}
	expectEnd(t, client)
	<-ended
	return nil
}
