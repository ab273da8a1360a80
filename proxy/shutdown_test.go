package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/drain"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A signal may come before Serve is called.
func TestServeAfterShutdownReturnsAndClosesItsListener(t *testing.T) {
	p := newProxy(t, Config{})
	for range 2 {
		if err := p.Shutdown(short(t)); err != nil {
			t.Error(err)
		}
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	served := make(chan error, 1)
	go func() { served <- p.Serve(short(t), ln) }()
	if err := returned(t, served); err != ErrStopped {
		t.Errorf("serve: %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("its listener is open")
	}
}

// An unauthenticated client, which its fronting host would keep for a quarter of
// an hour, is closed after the handshake's time.
func TestShutdownDoesNotWaitForUnauthenticatedClients(t *testing.T) {
	t.Parallel()
	host, visits := frontingHost(t)
	p, address := startProxy(t, Config{
		Users:  onlyUser(t, mtwiretest.FakeTLSSecret),
		Fronts: map[string]Front{"": {Address: host}},
	})
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("hello"))
	for string(<-visits) != "hello" { // but a probe's
	}
	if err := p.Shutdown(short(t)); err != nil {
		t.Errorf("it waited: %v", err)
	}
}

// startForShutdown is startProxy with a data centre that echoes, for a test that
// stops the proxy. It returns the result of Serve.
func startForShutdown(t *testing.T) (p *Proxy, address net.Addr, served <-chan error) {
	t.Helper()
	p = newEchoProxy(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	done := make(chan error, 1)
	go func() { done <- p.Serve(context.Background(), ln) }()
	return p, ln.Addr(), done
}

// During Shutdown, idle sessions are closed, busy ones go on, and new connections
// are refused.
func TestShutdownLetsBusySessionsFinish(t *testing.T) {
	t.Parallel()
	p, address, served := startForShutdown(t)
	silent, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	idle := []*mtwire.Conn{
		join(t, address, "secret="+mtwiretest.PaddedSecret), join(t, address, "secret="+mtwiretest.FakeTLSSecret),
	}
	opened := dial(t, address, "secret="+mtwiretest.PaddedSecret)
	if err := opened.Handshake(short(t)); err != nil { // with an init payload, and nothing else
		t.Fatal(err)
	}
	busy := join(t, address, "secret="+mtwiretest.FakeTLSSecret)
	eventually(t, "five connections", func() bool { return p.Stats().Open == 5 && p.Stats().Relaying == 4 })

	shut := make(chan error, 1)
	go func() { shut <- p.Shutdown(short(t)) }()
	others := make(chan struct{})
	go func() {
		defer close(others)
		for _, conn := range append(idle, opened) {
			ended(t, conn)
		}
		if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("the silent client read %d bytes", n)
		}
	}()
	for open := true; open; {
		echo(t, busy, 100)
		select {
		case <-others:
			open = false
		case <-time.After(10 * time.Millisecond):
		}
	}
	if conn, err := net.Dial("tcp", address.String()); err == nil {
		conn.Close()
		t.Error("a new connection is accepted")
	}
	if err := returned(t, served); err != ErrStopped {
		t.Error(err)
	}
	for range 10 {
		echo(t, busy, 100)
	}
	select {
	case err := <-shut:
		t.Errorf("Shutdown returned beside a busy session: %v", err)
	default:
	}
	ended(t, busy) // now that it is idle
	if err := <-shut; err != nil {
		t.Error(err)
	}
	if err := p.Shutdown(short(t)); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestShutdownClosesTheRestAtItsDeadline(t *testing.T) {
	t.Parallel()
	p, address, served := startForShutdown(t)
	busy := join(t, address, "secret="+mtwiretest.PaddedSecret)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx := short(t); ; {
			if busy.Send(ctx, payload(3)) != nil {
				return
			}
			if _, err := busy.Receive(ctx); err != nil {
				return
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if n := p.Stats().Open; n != 0 {
		t.Errorf("%d sessions are open", n)
	}
	if err := returned(t, served); err != ErrStopped {
		t.Error(err)
	}
	<-done
}

// Close ends sessions at every stage, those of all listeners, and Serve on each.
func TestCloseEndsEverything(t *testing.T) {
	dc, _ := dataCenter(t)
	host, _ := frontingHost(t)
	p := newProxy(t, Config{DataCenters: allAt(dc), Fronts: map[string]Front{"": {Address: host}}})
	p.relaying.Idle = 5 * time.Millisecond
	listeners := []net.Listener{listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")}
	served := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { served <- p.Serve(context.Background(), ln) }()
	}
	var open []net.Conn
	for i, first := range [][]byte{nil, []byte("GET / HTTP/1.1\r\n\r\n"), {1}, initOf(t, secretOf(t, mtwiretest.PlainSecret).Key, mtwire.Abridged)} {
		conn, err := net.Dial("tcp", listeners[i%2].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write(first)
		open = append(open, conn)
	}
	for _, secret := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		join(t, listeners[0].Addr(), "secret="+secret)
	}
	eventually(t, "six connections", func() bool { return p.Stats().Open == 6 && p.Stats().Relaying == 3 })
	closeProxy(t, p)
	for range listeners {
		if err := returned(t, served); err != ErrStopped {
			t.Error(err)
		}
	}
	for i, conn := range open {
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connection %d is open", i)
		}
	}
	for _, ln := range listeners {
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a listener is open: %v", err)
		}
	}
}

// A session is idle some time after its last byte or the end of its pause, an
// unauthenticated one after the handshake's time, and one without a byte a second
// after its beginning.
func TestSessionsAreIdleInTime(t *testing.T) {
	hosts := map[string]func(net.Conn){
		"dc.test:443":    echoing(10),
		"front.test:443": func(conn net.Conn) { io.Copy(conn, conn) },
	}
	pauses := func(paused Direction) Policy {
		return admitTo(&testAccount{delay: func(d Direction, n int) time.Duration {
			if d == paused && n > 0 {
				return 3 * blockedTime
			}
			return 0
		}})
	}
	for name, c := range map[string]struct {
		visit  func(t *testing.T, b *bubble)
		after  time.Duration
		policy Policy
	}{
		"a client that has sent nothing": {func(t *testing.T, b *bubble) { b.connect() }, drain.IdleTime, nil},
		"a client after its hello":       {func(t *testing.T, b *bubble) { b.join(mtwiretest.FakeTLSSecret) }, handshakeGrace, nil},
		"an unauthenticated client": {func(t *testing.T, b *bubble) {
			conn := b.connect()
			conn.Write(make([]byte, 100))
			read(t, conn, 100)
		}, handshakeGrace, nil},
		"a session without a packet": {func(t *testing.T, b *bubble) { b.join(mtwiretest.PaddedSecret).Handshake(b.ctx) }, drain.IdleTime, nil},
		"a session with a packet":    {func(t *testing.T, b *bubble) { echo(t, b.join(mtwiretest.FakeTLSSecret), 3) }, drain.IdleTime, nil},
		"a download that pauses": {
			func(t *testing.T, b *bubble) { echo(t, b.join(mtwiretest.FakeTLSSecret), 3) }, 3*blockedTime + drain.IdleTime, pauses(Download),
		},
		"an upload that pauses": {func(t *testing.T, b *bubble) {
			conn := b.join(mtwiretest.PaddedSecret)
			conn.Send(b.ctx, payload(3))
			synctest.Wait()
			conn.Send(b.ctx, payload(3))
		}, 3*blockedTime + drain.IdleTime, pauses(Upload)},
	} {
		config := Config{
			DataCenters: at("dc.test:443"),
			Fronts:      map[string]Front{"": {Address: "front.test:443"}},
			Policy:      c.policy,
		}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			c.visit(t, b)
			synctest.Wait()
			idle := func() (all []bool) {
				b.each(func(s *session) { all = append(all, s.idle()) })
				return all
			}
			time.Sleep(c.after - time.Millisecond)
			if got := idle(); !slices.Equal(got, []bool{false}) {
				t.Errorf("%s is idle before %v: %v", name, c.after, got)
			}
			time.Sleep(2 * time.Millisecond)
			if got := idle(); !slices.Equal(got, []bool{true}) {
				t.Errorf("%s is not idle after %v: %v", name, c.after, got)
			}
			b.closeAll(errStopping)
			if n := b.Stats().Open; n != 0 {
				t.Errorf("%s does not end", name)
			}
		})
	}
}

// lateListener accepts one connection, when it is closed.
type lateListener struct {
	net.Listener
	late   chan net.Conn
	closed chan struct{}
}

func (l *lateListener) Accept() (net.Conn, error) {
	<-l.closed
	select {
	case conn := <-l.late:
		return conn, nil
	default:
		return nil, net.ErrClosed
	}
}

func (l *lateListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return l.Listener.Close()
}

// A connection that is accepted while the proxy stops is served: the kernel has told
// the client that it is open.
func TestConnectionAcceptedAtTheEndIsServed(t *testing.T) {
	p := newEchoProxy(t)
	client, server := net.Pipe()
	ln := &lateListener{listen(t, "tcp", "127.0.0.1:0"), make(chan net.Conn, 1), make(chan struct{})}
	ln.late <- &addressed{server, clientAddress}
	served := make(chan error, 1)
	go func() { served <- p.Serve(context.Background(), ln) }()
	eventually(t, "Serve runs", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.relaying.Poller != nil
	})
	stopped := make(chan error, 1)
	go func() { stopped <- p.Shutdown(short(t)) }()
	conn, err := mtwire.Client(short(t), client, mtwire.Endpoint{Secret: secretOf(t, mtwiretest.PaddedSecret), DC: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn, 3)
	conn.Close()
	if err := returned(t, stopped); err != nil {
		t.Error(err)
	}
	if err := returned(t, served); err != ErrStopped {
		t.Error(err)
	}
}

// CloseIdle closes what Shutdown would, and the proxy goes on: a session that moves bytes,
// the streams of a WEB relay, and new clients.
func TestCloseIdleLeavesTheProxyOpen(t *testing.T) {
	defer func(before time.Duration) { drain.IdleTime = before }(drain.IdleTime)
	drain.IdleTime = 3 * time.Second // which a client that is to be busy does not reach by chance
	p, address, _ := startForShutdown(t)
	idle := join(t, address, "secret="+mtwiretest.PaddedSecret)
	closed := make(chan struct{})
	go func() {
		idle.Receive(context.Background())
		close(closed)
	}()
	busy := join(t, address, "secret="+mtwiretest.PlainSecret)
	for open := true; open; {
		echo(t, busy, 64)
		p.CloseIdle()
		select {
		case <-closed:
			open = false
		case <-time.After(10 * time.Millisecond):
		}
	}
	echo(t, busy, 5000)
	echo(t, join(t, address, "secret="+mtwiretest.FakeTLSSecret), 64)
}
