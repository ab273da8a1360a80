package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A signal may come before Serve has begun: "Serve returns ErrStopped, also if
// it is called only afterwards", and closes its listeners.
func TestShutdownAheadOfServeStopsIt(t *testing.T) {
	p, err := New(Config{Users: []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Shutdown(short(t)); err != nil {
			t.Error(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(short(t), ln) }()
	select {
	case err := <-served:
		if !errors.Is(err, ErrStopped) {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it serves")
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("its listener is open")
	}
}

// "A proxy serves once", and goes on with that when it is asked to serve again.
func TestSecondServeDisturbsNothing(t *testing.T) {
	dc, _ := dataCenter(t)
	p, address := startProxy(t, Config{DataCenters: map[datacenter.DC][]string{0: {dc.String()}}})
	conn := join(t, address, "secret="+mtwiretest.PaddedSecret)
	poller := p.relaying.Poller
	if err := p.Serve(context.Background()); err == nil || errors.Is(err, ErrStopped) {
		t.Errorf("the second one: %v", err)
	}
	if p.relaying.Poller != poller {
		t.Error("idle connections would wait where nobody wakes them")
	}
	echo(t, conn, 3)
}

// A host that is asked about every stranger answers as soon as it would on its
// own: where only FakeTLS is allowed, other bytes need not be waited for.
func TestShortGarbageIsFrontedAtOnceWhereOnlyFakeTLSIsAllowed(t *testing.T) {
	host, visits := frontingHost(t)
	p, address := startProxy(t, Config{
		Users:  []User{{Secret: secretOf(t, mtwiretest.FakeTLSSecret)}},
		Fronts: map[string]string{"": host},
	})
	for _, sent := range []string{"h", "\x16\x04", "SSH-2.0-Go\r\n"} {
		began := time.Now()
		fronted(t, address, visits, []byte(sent))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%q: after %v", sent, took)
		}
	}
	eventually(t, "three strangers are counted", func() bool { return p.Stats().Strangers == 3 })
}

// "Closes each that there is as soon as it has been silent": strangers too,
// whom their host would keep for a quarter of an hour.
func TestShutdownDoesNotWaitForStrangers(t *testing.T) {
	t.Parallel()
	host, visits := frontingHost(t)
	p, address := startProxy(t, Config{
		Users:  []User{{Secret: secretOf(t, mtwiretest.FakeTLSSecret)}},
		Fronts: map[string]string{"": host},
	})
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("hello"))
	for string(<-visits) != "hello" { // but a measurement's
	}
	if err := p.Shutdown(short(t)); err != nil {
		t.Errorf("it waited: %v", err)
	}
}

// stoppable is a proxy that is to be stopped in the test.
func stoppable(t *testing.T) (p *Proxy, address net.Addr, served <-chan error) {
	t.Helper()
	p = unserved(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	done := make(chan error, 1)
	go func() { done <- p.Serve(context.Background(), ln) }()
	return p, ln.Addr(), done
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// ended waits until a client's connection has ended.
func ended(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	_, err := conn.Receive(short(t))
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection has not ended: %v", err)
	}
}

// "Quiet connections are closed, busy ones finish, ErrStopped, new connections
// are refused meanwhile."
func TestShutdownLetsBusyConnectionsFinish(t *testing.T) {
	t.Parallel()
	p, address, served := stoppable(t)
	silent, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	quiet := []*mtwire.Conn{
		join(t, address, "secret="+mtwiretest.PaddedSecret), join(t, address, "secret="+mtwiretest.FakeTLSSecret),
	}
	opened, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret="+mtwiretest.PaddedSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if err := opened.Handshake(short(t)); err != nil { // with an init payload, and nothing else
		t.Fatal(err)
	}
	busy := join(t, address, "secret="+mtwiretest.FakeTLSSecret)
	eventually(t, "five connections", func() bool { return p.Stats().Open == 5 && p.Stats().Carried == 4 })

	shut := make(chan error, 1)
	go func() { shut <- p.Shutdown(short(t)) }()
	others := make(chan struct{})
	go func() {
		defer close(others)
		for _, conn := range append(quiet, opened) {
			ended(t, conn)
		}
		if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("the silent one read %d bytes", n)
		}
	}()
	for open := true; open; {
		echo(t, busy, 100)
		select {
		case <-others:
			open = false
		default:
		}
	}
	if conn, err := net.Dial("tcp", address.String()); err == nil {
		conn.Close()
		t.Error("a new connection is taken")
	}
	for range 10 {
		echo(t, busy, 100)
	}
	select {
	case err := <-served:
		t.Errorf("Serve returned beside a busy connection: %v", err)
	default:
	}
	ended(t, busy) // now that it is quiet
	if err := <-shut; err != nil {
		t.Error(err)
	}
	if err := <-served; err != ErrStopped {
		t.Error(err)
	}
	if err := p.Shutdown(short(t)); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// "The deadline ends the rest."
func TestShutdownEndsTheRestAtItsDeadline(t *testing.T) {
	t.Parallel()
	p, address, served := stoppable(t)
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
	if err := <-served; err != ErrStopped {
		t.Error(err)
	}
	<-done
}

// "ctx end closes all": connections at every stage, and all listeners.
func TestEndOfContextClosesEverything(t *testing.T) {
	dc, _ := dataCenter(t)
	host, _ := frontingHost(t)
	p, err := New(Config{
		Users:       []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}},
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
		Fronts:      map[string]string{"": host},
		Log:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.relaying.Idle = 5 * time.Millisecond
	listeners := []net.Listener{listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")}
	ctx, cancel := context.WithCancelCause(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, listeners...) }()
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
	eventually(t, "six connections", func() bool { return p.Stats().Open == 6 && p.Stats().Carried == 3 })
	why := errors.New("enough")
	cancel(why)
	select {
	case err := <-served:
		if err != why {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve does not return")
	}
	for i, conn := range open {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connection %d is open", i)
		}
	}
	if s := p.Stats(); s.Open != 0 || s.Carried != 0 || len(p.sessions) != 0 {
		t.Errorf("%+v", s)
	}
	for _, ln := range listeners {
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a listener is open: %v", err)
		}
	}
}

// A listener that fails for good ends the others.
func TestListenerThatFailsEndsServe(t *testing.T) {
	p, err := New(Config{Users: []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}}})
	if err != nil {
		t.Fatal(err)
	}
	good, bad := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	bad.Close()
	if err := p.Serve(short(t), good, bad); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := good.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the other listener is open: %v", err)
	}
}

// "Closes each as soon as it has been silent for a second", and those that are
// not known, or have nothing to say, as well.
func TestConnectionsAreQuietInTime(t *testing.T) {
	hosts := map[string]func(net.Conn){
		"dc.test:443":    echoing(10),
		"front.test:443": func(conn net.Conn) { io.Copy(conn, conn) },
	}
	for name, c := range map[string]struct {
		visit func(t *testing.T, b *bubble)
		after time.Duration
	}{
		"a client that has said nothing": {func(t *testing.T, b *bubble) { b.connect() }, 0},
		"a warm FakeTLS connection":      {func(t *testing.T, b *bubble) { b.join(mtwiretest.FakeTLSSecret) }, handshakeGrace},
		"a stranger": {func(t *testing.T, b *bubble) {
			conn := b.connect()
			conn.Write(make([]byte, 100))
			read(t, conn, 100)
		}, handshakeGrace},
		"a connection without a packet": {func(t *testing.T, b *bubble) { b.join(mtwiretest.PaddedSecret).Handshake(b.ctx) }, quietTime},
		"one with":                      {func(t *testing.T, b *bubble) { echo(t, b.join(mtwiretest.FakeTLSSecret), 3) }, quietTime},
	} {
		config := Config{
			DataCenters: map[datacenter.DC][]string{0: {"dc.test:443"}},
			Fronts:      map[string]string{"": "front.test:443"},
		}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			c.visit(t, b)
			synctest.Wait()
			quiet := func() (all []bool) {
				b.each(func(s *session) { all = append(all, s.quiet()) })
				return all
			}
			if c.after > 0 {
				time.Sleep(c.after - time.Millisecond)
				if got := quiet(); !slices.Equal(got, []bool{false}) {
					t.Errorf("%s is quiet before %v: %v", name, c.after, got)
				}
				time.Sleep(2 * time.Millisecond)
			}
			if got := quiet(); !slices.Equal(got, []bool{true}) {
				t.Errorf("%s is not quiet after %v: %v", name, c.after, got)
			}
			b.each(func(s *session) { s.abort(errStopping) })
			synctest.Wait()
			if n := b.Stats().Open; n != 0 {
				t.Errorf("%s does not end", name)
			}
		})
	}
}

// exhausted is a listener whose first calls of Accept find no descriptor.
type exhausted struct {
	net.Listener
	calls int
}

func (e *exhausted) Accept() (net.Conn, error) {
	if e.calls--; e.calls >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return e.Listener.Accept()
}

// "Descriptors run out": the operator is told, once a minute, that nobody gets
// in, and it passes.
func TestWantOfDescriptorsIsLoggedOnce(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	p, err := New(Config{
		Users:       []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}},
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
		Log:         log.logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, &exhausted{ln, 3})
	join(t, ln.Addr(), "secret="+mtwiretest.PlainSecret)
	if lines := log.lines("too many open files"); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
}
