package fronting

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func preconnect(t *testing.T, p *Pool) *Preconnected {
	t.Helper()
	c, err := p.Preconnect(context.Background(), Client{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func wait(t *testing.T, c *Preconnected) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// A silent client gets the greeting of a host that sends first.
func TestSilentClientGetsTheGreeting(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("220 mail.example ESMTP\r\n"))}}})
	c := preconnect(t, p)
	wait(t, c)
	wait(t, c) // returns at once
	client, server := pair(t)
	done := start(t, func() (Result, error) { return c.Tunnel(context.Background(), server, nil) })
	expect(t, client, "220 mail.example ESMTP\r\n")
	send(t, client, "EHLO")
	client.CloseWrite()
	expect(t, client, "EHLO")
	expectEnd(t, client)
	if got := <-done; got != (outcome{Result{"a.example", 4, 28}, nil}) {
		t.Errorf("%+v", got)
	}
}

// A silent client is closed when the host closes, and no earlier.
func TestSilentClientGetsTheClose(t *testing.T) {
	release := make(chan struct{})
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, func(*net.TCPConn) { <-release })}}})
	c := preconnect(t, p)
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := c.Wait(short); err != context.DeadlineExceeded {
		t.Fatalf("before the host's close, Wait returns %v", err)
	}
	close(release)
	wait(t, c)
	client, server := pair(t)
	done := start(t, func() (Result, error) { return c.Tunnel(context.Background(), server, nil) })
	expectEnd(t, client)
	client.Close()
	if got := <-done; got.err != nil {
		t.Errorf("%+v", got)
	}
}

// A silent client is reset when the host resets its connection.
func TestSilentClientGetsTheReset(t *testing.T) {
	opened := make(chan struct{})
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, func(conn *net.TCPConn) {
		<-opened
		conn.SetLinger(0)
	})}}})
	c := preconnect(t, p)
	close(opened)
	wait(t, c)
	client, server := pair(t)
	done := start(t, func() (Result, error) { return c.Tunnel(context.Background(), server, nil) })
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %v, want a reset", err)
	}
	if got := <-done; !errors.Is(got.err, syscall.ECONNRESET) {
		t.Errorf("%+v", got)
	}
}

// The client's first bytes end Wait by its context. They go to the host over the
// same connection.
func TestClientThatSendsLateKeepsItsConnection(t *testing.T) {
	visits := make(chan struct{}, 10)
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, func(conn *net.TCPConn) {
		visits <- struct{}{}
		io.Copy(conn, conn)
	})}}})
	c := preconnect(t, p)
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error, 1)
	go func() { waited <- c.Wait(ctx) }()
	cancel()
	if err := <-waited; err != context.Canceled {
		t.Fatal(err)
	}
	client, server := pair(t)
	done := start(t, func() (Result, error) {
		return c.Tunnel(context.Background(), server, []byte("here I am"))
	})
	expect(t, client, "here I am")
	client.Close()
	<-done
	if len(visits) != 1 {
		t.Errorf("%d connections to the host", len(visits))
	}
}

// A client that names another host than the first is tunneled there, and the
// connection to the first host is closed.
func TestPreconnectedClientMayNameAnotherHost(t *testing.T) {
	p, _ := newPool(t, Config{MaxPreconnected: 1, Hosts: []Host{
		{Domain: "a.example", Address: serve(t, echo("a"))},
		{Domain: "b.example", Address: serve(t, echo("b"))},
	}})
	c := preconnect(t, p)
	client, server := pair(t)
	done := start(t, func() (Result, error) {
		return c.Tunnel(context.Background(), server, helloFor(t, "b.example"))
	})
	expect(t, client, "b")
	client.Close()
	if got := <-done; got.Domain != "b.example" {
		t.Errorf("%+v", got)
	}
	preconnect(t, p) // within MaxPreconnected again
}

// MaxPreconnected connections are open at one time. Tunnel and Close make room
// for the next.
func TestPreconnectedConnectionsAreLimited(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("hello"))}}, MaxPreconnected: 1, MaxTunnels: 1})
	c := preconnect(t, p)
	if _, err := p.Preconnect(context.Background(), Client{}, nil); err != ErrBusy {
		t.Errorf("beyond MaxPreconnected: %v", err)
	}
	first, server := pair(t)
	done := start(t, func() (Result, error) { return c.Tunnel(context.Background(), server, nil) })
	expect(t, first, "hello")
	second := preconnect(t, p)
	client, server := pair(t)
	client.CloseWrite()
	if _, err := second.Tunnel(context.Background(), server, nil); err != ErrBusy {
		t.Errorf("beyond MaxTunnels: %v", err)
	}
	expectEnd(t, client)
	send(t, first, "x")
	expect(t, first, "x")
	first.Close()
	<-done
	c.Close() // does nothing after Tunnel, and makes room only once
	preconnect(t, p).Close()
	preconnect(t, p).Close()
}

// Without a reachable host, Preconnect fails and keeps room for the next call.
func TestPreconnectFailsWithoutAHost(t *testing.T) {
	p, _ := newPool(t, Config{})
	if _, err := p.Preconnect(context.Background(), Client{}, nil); err != errNoHost {
		t.Error(err)
	}
	p, _ = newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}, DialContext: unreachable, MaxPreconnected: 1})
	for range 2 {
		if _, err := p.Preconnect(context.Background(), Client{}, nil); err == nil || err == ErrBusy {
			t.Error(err)
		}
	}
}
