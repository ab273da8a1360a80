package fronting

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// unreachable is a DialContext that fails.
func unreachable(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no route to host")
}

// If no host can be dialed, the client's bytes are read without an answer for 10
// to 15 seconds, and then the client is closed.
func TestClientOfAnUnreachableHostGetsNoAnswer(t *testing.T) {
	for name, hosts := range map[string][]Host{"unreachable": {{Domain: "a.example"}}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, log := newPool(t, Config{Hosts: hosts, DialContext: unreachable})
				client, server := net.Pipe()
				begin := time.Now()
				done := start(t, func() (Result, error) { return p.Tunnel(t.Context(), server, Client{}, nil) })
				send(t, client, "GET / HTTP/1.1\r\n\r\n")
				time.Sleep(9 * time.Second)
				send(t, client, "GET / HTTP/1.1\r\n\r\n")
				expectEnd(t, client)
				if took := time.Since(begin); took < 10*time.Second || took > 15*time.Second {
					t.Errorf("closed after %v", took)
				}
				if got := <-done; got.err == nil || got.Result != (Result{}) {
					t.Errorf("%+v", got)
				}
				if hosts != nil && !strings.Contains(log.String(), "a.example:443") {
					t.Errorf("log %q", log)
				}
			})
		})
	}
}

// An unreachable host is a warning once a minute, whatever the number of clients.
func TestUnreachableHostIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}, DialContext: unreachable})
		for range 100 {
			client, server := net.Pipe()
			client.Close()
			p.Tunnel(t.Context(), server, Client{}, nil)
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 2 {
			t.Errorf("%d warnings", n)
		}
	})
}

// Reading without an answer ends at once when the client closes or the context
// ends.
func TestDiscardingEndsWithTheClientOrTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPool(t, Config{})
		client, server := net.Pipe()
		begin := time.Now()
		done := start(t, func() (Result, error) { return p.Tunnel(t.Context(), server, Client{}, nil) })
		client.Close()
		<-done
		client, server = net.Pipe()
		defer client.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done = start(t, func() (Result, error) { return p.Tunnel(ctx, server, Client{}, nil) })
		synctest.Wait()
		cancel()
		<-done
		if took := time.Since(begin); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// MaxTunnels clients are tunneled at one time. The next client gets no answer.
func TestClientsBeyondMaxTunnelsGetNoAnswer(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("hello"))}}, MaxTunnels: 1})
	first, done := tunneled(t, p)
	expect(t, first, "hello")
	second, refused := tunneled(t, p)
	send(t, second, "x")
	second.CloseWrite() // ends Tunnel before its 10 seconds
	expectEnd(t, second)
	if got := <-refused; got.err != ErrBusy {
		t.Errorf("%+v", got)
	}
	first.Close()
	<-done
	third, _ := tunneled(t, p)
	expect(t, third, "hello")
}
