package netx

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// acceptAll accepts connections of a listener on loopback in an accept loop, until the test ends.
func acceptAll(t *testing.T, handle func(net.Conn)) (ln *WatchedListener, over chan struct{}) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, over = Watch(Sockets(tcp)), make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-over })
	go func() {
		defer close(over)
		defer ln.End()
		AcceptLoop(context.Background(), ln, handle, nil)
	}()
	return ln, over
}

// canceled returns a context that has ended with a cause.
func canceled(cause error) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	return ctx
}

// An accept loop that waits for a connection responds, again and again, and accepts connections
// in between. One that has ended is not asked.
func TestAnAcceptLoopResponds(t *testing.T) {
	accepted := make(chan net.Conn)
	ln, over := acceptAll(t, func(conn net.Conn) { accepted <- conn })
	for range 10 {
		if err := ln.Responds(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		(<-accepted).Close()
		conn.Close()
	}
	ln.Close()
	<-over
	if err := ln.Responds(t.Context()); err != nil || len(ln.asked) > 0 {
		t.Errorf("%v, and %d wait for an answer", err, len(ln.asked))
	}
}

// An accept loop that hangs does not respond. It does once it goes on.
func TestAnAcceptLoopThatHangs(t *testing.T) {
	hangs, goOn := make(chan struct{}), make(chan struct{})
	ln, _ := acceptAll(t, func(conn net.Conn) {
		conn.Close()
		close(hangs)
		<-goOn
	})
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	<-hangs
	late := errors.New("too late")
	if err := ln.Responds(canceled(late)); err != late {
		t.Errorf("a loop that hangs: %v", err)
	}
	close(goOn)
	if err := ln.Responds(t.Context()); err != nil {
		t.Error(err)
	}
}

// A pause of the accept loop after a shortage is a response, and one that does not end is none.
func TestAnAcceptLoopThatPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := Watch(&deadlined{failing: failing{errs: []error{syscall.EMFILE}}})
		if _, err := ln.Accept(); !IsErrno(err, EMFILE) {
			t.Error(err)
		}
		late := canceled(errors.New("too late"))
		if err := ln.Responds(late); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * maxPause)
		if err := ln.Responds(late); err == nil {
			t.Error("a loop that has not come back responds")
		}
	})
}

// deadlined is a listener with deadlines.
type deadlined struct{ failing }

func (*deadlined) SetDeadline(time.Time) error { return nil }

// Package net/http waits shortages out, as AcceptLoop does.
func TestAWebServerWaitsShortagesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := []error{os.NewSyscallError("accept4", syscall.ENOMEM), syscall.ENOBUFS, syscall.ENOSPC, syscall.EMFILE, net.ErrClosed}
		ln := &failing{errs: errs, Listener: &nothing{}}
		if err := new(http.Server).Serve(Watch(ln)); !errors.Is(err, net.ErrClosed) || len(ln.errs) > 0 {
			t.Errorf("%v, and %d errors are left", err, len(ln.errs))
		}
	})
}

// nothing is a listener on nothing.
type nothing struct{ net.Listener }

func (*nothing) Close() error { return nil }
