package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener is a listener for pipes, which says that it is on TCP.
type pipeListener struct {
	conns  chan net.Conn
	ctx    context.Context
	cancel context.CancelFunc
}

func newPipeListener(t *testing.T) *pipeListener {
	ctx, cancel := context.WithCancel(t.Context())
	return &pipeListener{make(chan net.Conn), ctx, cancel}
}

func (ln *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-ln.conns:
		return conn, nil
	case <-ln.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (ln *pipeListener) Close() error   { ln.cancel(); return nil }
func (ln *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (ln *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	go func() { // as the kernel's queue
		select {
		case ln.conns <- server:
		case <-ln.ctx.Done():
			server.Close()
		}
	}()
	return client
}

func testOverPipes(t *testing.T, test func(t *testing.T, ln *pipeListener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{
			Token: func() string { return testToken }, Log: slog.New(slog.DiscardHandler), Ready: func() error { return nil },
			Metrics: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }),
		})
		ln := newPipeListener(t)
		served := make(chan error)
		go func() { served <- s.Serve(ln) }()
		test(t, ln)
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// request sends a request and returns the answer without its body.
func request(t *testing.T, conn net.Conn, lines string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n"+lines+"\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, answer.Body)
	return answer
}

const tokenLine = "Authorization: Bearer " + testToken + "\r\n"

// Connections without the token, silent ones or slow ones, keep an operator out for
// seconds and no longer.
func TestConnectionsWithoutTokenEnd(t *testing.T) {
	for name, sent := range map[string]string{"silent": "", "half a header": "GET / HTTP/1.1\r\nHo"} {
		testOverPipes(t, func(t *testing.T, ln *pipeListener) {
			for range maxPending {
				conn := ln.dial()
				defer conn.Close()
				io.WriteString(conn, sent)
				go io.Copy(io.Discard, conn) // as the kernel's buffer
			}
			synctest.Wait()
			began := time.Now()
			conn := ln.dial()
			defer conn.Close()
			if answer := request(t, conn, tokenLine); answer.StatusCode != 200 {
				t.Error(name, answer.Status)
			}
			if waited := time.Since(began); waited > tokenTimeout {
				t.Error(name, "waited for", waited)
			}
		})
	}
}

// Each refusal ends the connection, and a connection that has shown the token may be idle for longer.
func TestRefusalsEndTheConnection(t *testing.T) {
	for name, lines := range map[string]string{
		"no token": "", "another origin": tokenLine + "Sec-Fetch-Site: cross-site\r\n", "a body that does not come": "Content-Length: 10\r\n",
	} {
		testOverPipes(t, func(t *testing.T, ln *pipeListener) {
			conn := ln.dial()
			defer conn.Close()
			if answer := request(t, conn, lines); answer.StatusCode/100 != 4 || !answer.Close {
				t.Error(name, answer.Status, answer.Header)
			}
			began := time.Now()
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF || time.Since(began) > tokenTimeout {
				t.Error(name, err, time.Since(began))
			}
		})
	}
	testOverPipes(t, func(t *testing.T, ln *pipeListener) {
		conn := ln.dial()
		defer conn.Close()
		for range 3 {
			if answer := request(t, conn, tokenLine); answer.StatusCode != 200 || answer.Close {
				t.Error(answer.Status, answer.Header)
			}
			time.Sleep(idleTimeout / 2)
		}
	})
}

// A flood from all addresses of an IPv6 site makes room for itself, as one from one address
// does, and not by the connection of an operator whose request is still on its way.
func TestAFloodFromASiteMakesRoomForItself(t *testing.T) {
	l := new(connections)
	arrive := func(address string) (c, evicted *connection) {
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close(); server.Close() })
		c = &connection{Conn: server, of: l, network: networkOf(netip.MustParseAddr(address))}
		if evicted = l.add(c); evicted != nil {
			evicted.Close()
		}
		return c, evicted
	}
	operators := make(map[*connection]bool)
	for _, address := range []string{"2001:db8:1::1", "192.0.2.1"} {
		operator, _ := arrive(address)
		operators[operator] = true
	}
	for i := range 3 * maxPending {
		if _, evicted := arrive(fmt.Sprintf("2001:db8:66:%x::%x", i, i+1)); operators[evicted] {
			t.Fatalf("an operator makes room for connection %d of the flood", i)
		}
	}
	if len(l.pending) != maxPending {
		t.Errorf("%d connections", len(l.pending))
	}
}
