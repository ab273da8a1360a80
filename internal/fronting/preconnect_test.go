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
	e, err := p.Preconnect(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func wait(t *testing.T, e *Preconnected) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// "What the silent client would see is what the host does: its bytes."
func TestSilentClientSeesTheGreeting(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, echo("220 mail.example ESMTP\r\n"))}}})
	e := preconnect(t, p)
	wait(t, e)
	wait(t, e) // it is still so
	client, server := pair(t)
	done := start(t, func() (Result, error) { return e.Tunnel(context.Background(), server, nil) })
	expect(t, client, "220 mail.example ESMTP\r\n")
	send(t, client, "EHLO")
	client.CloseWrite()
	expect(t, client, "EHLO")
	expectEnd(t, client)
	if got := <-done; got != (outcome{Result{"a.example", 4, 28}, nil}) {
		t.Errorf("%+v", got)
	}
}

// "Its close, at its time."
func TestSilentClientSeesTheClose(t *testing.T) {
	release := make(chan struct{})
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, func(*net.TCPConn) { <-release })}}})
	e := preconnect(t, p)
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := e.Wait(short); err != context.DeadlineExceeded {
		t.Fatalf("the host has done nothing, and Wait says %v", err)
	}
	close(release)
	wait(t, e)
	client, server := pair(t)
	done := start(t, func() (Result, error) { return e.Tunnel(context.Background(), server, nil) })
	expectEnd(t, client)
	client.Close()
	if got := <-done; got.err != nil {
		t.Errorf("%+v", got)
	}
}

// A host that resets the silent is seen to do so.
func TestSilentClientSeesTheReset(t *testing.T) {
	opened := make(chan struct{})
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, func(conn *net.TCPConn) {
		<-opened
		conn.SetLinger(0)
	})}}})
	e := preconnect(t, p)
	close(opened)
	wait(t, e)
	client, server := pair(t)
	done := start(t, func() (Result, error) { return e.Tunnel(context.Background(), server, nil) })
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %v", err)
	}
	if got := <-done; !errors.Is(got.err, syscall.ECONNRESET) {
		t.Errorf("%+v", got)
	}
}

// "ctx ended (the client spoke)": nothing of what the host says is lost, and
// what the client said goes to the host on the same connection.
func TestClientThatSpeaksAfterAllKeepsItsConnection(t *testing.T) {
	visits := make(chan struct{}, 10)
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, func(conn *net.TCPConn) {
		visits <- struct{}{}
		io.Copy(conn, conn)
	})}}})
	e := preconnect(t, p)
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error, 1)
	go func() { waited <- e.Wait(ctx) }()
	cancel()
	if err := <-waited; err != context.Canceled {
		t.Fatal(err)
	}
	client, server := pair(t)
	done := start(t, func() (Result, error) {
		return e.Tunnel(context.Background(), server, []byte("here I am"))
	})
	expect(t, client, "here I am")
	client.Close()
	<-done
	if len(visits) != 1 {
		t.Errorf("%d connections to the host", len(visits))
	}
}

// A client may turn out to want another host than the first.
func TestClientMayAskForAnotherHost(t *testing.T) {
	p, _ := newPool(t, Config{MaxPreconnected: 1, Hosts: []Host{
		{"a.example", serve(t, echo("a"))},
		{"b.example", serve(t, echo("b"))},
	}})
	e := preconnect(t, p)
	client, server := pair(t)
	done := start(t, func() (Result, error) {
		return e.Tunnel(context.Background(), server, helloFor(t, "b.example"))
	})
	expect(t, client, "b")
	client.Close()
	if got := <-done; got.Domain != "b.example" {
		t.Errorf("%+v", got)
	}
	preconnect(t, p) // the place is free again
}

// "Bound the number of those connections."
func TestOpenConnectionsAreLimited(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, echo("hello"))}}, MaxPreconnected: 1, MaxTunnels: 1})
	e := preconnect(t, p)
	if _, err := p.Preconnect(context.Background(), nil); err != ErrBusy {
		t.Errorf("a second one: %v", err)
	}
	first, server := pair(t)
	done := start(t, func() (Result, error) { return e.Tunnel(context.Background(), server, nil) })
	expect(t, first, "hello")
	second := preconnect(t, p)
	client, server := pair(t)
	client.CloseWrite()
	if _, err := second.Tunnel(context.Background(), server, nil); err != ErrBusy {
		t.Errorf("with all places to be piped taken: %v", err)
	}
	expectEnd(t, client)
	send(t, first, "x")
	expect(t, first, "x")
	first.Close()
	<-done
	e.Close() // does nothing: it is piped, and its place given back
	preconnect(t, p).Close()
	preconnect(t, p).Close()
}

// A host that is not there is no reason to close a silent client.
func TestOpenSaysThatThereIsNoHost(t *testing.T) {
	p, _ := newPool(t, Config{})
	if _, err := p.Preconnect(context.Background(), nil); err != errNoHost {
		t.Error(err)
	}
	p, _ = newPool(t, Config{Hosts: []Host{{"a.example", ""}}, DialContext: unreachable, MaxPreconnected: 1})
	for range 2 {
		if _, err := p.Preconnect(context.Background(), nil); err == nil || err == ErrBusy {
			t.Error(err)
		}
	}
}
