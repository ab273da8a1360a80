package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// serveUntil is serve on a free port until stop is called with a cause. It returns
// the result of Serve.
func serveUntil(t *testing.T, p *Proxy) (address net.Addr, stop context.CancelCauseFunc, served <-chan error) {
	t.Helper()
	ln := listen(t, "tcp", "127.0.0.1:0")
	ctx, stop := context.WithCancelCause(context.Background())
	t.Cleanup(func() { stop(nil) })
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, ln) }()
	return ln.Addr(), stop, done
}

// When Serve's ctx ends, it closes its listener and returns the cause. The sessions
// that came through it go on, and another listener can be served.
func TestSessionsOutliveTheirListener(t *testing.T) {
	p := newEchoProxy(t)
	address, stop, served := serveUntil(t, p)
	conn := join(t, address, "secret="+mtwiretest.PaddedSecret)
	cause := errors.New("the address is given up")
	stop(cause)
	if err := returned(t, served); err != cause {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := net.Dial("tcp", address.String()); err == nil {
		t.Error("the listener is open")
	}
	echo(t, conn, 1000)
	if s := p.Stats(); s.Open != 1 || s.Relaying != 1 {
		t.Errorf("%+v", s)
	}
	next := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, next)
	other := join(t, next.Addr(), "secret="+mtwiretest.FakeTLSSecret)
	echo(t, conn, 3)
	echo(t, other, 3)
}

// A listener that fails ends its own Serve. Other listeners go on.
func TestListenerThatFailsEndsItsOwnServe(t *testing.T) {
	p := newEchoProxy(t)
	good, bad := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, good)
	conn := join(t, good.Addr(), "secret="+mtwiretest.PaddedSecret)
	bad.Close()
	if err := p.Serve(short(t), bad); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	echo(t, conn, 3)
	join(t, good.Addr(), "secret="+mtwiretest.PaddedSecret)
}

// Listeners come and go at the same time as clients, and no session is lost.
func TestListenersComeAndGoConcurrently(t *testing.T) {
	p := newEchoProxy(t)
	address, _, _ := serveUntil(t, p)
	stays := join(t, address, "secret="+mtwiretest.PaddedSecret)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for range 5 {
				address, stop, served := serveUntil(t, p)
				conn := join(t, address, "secret="+mtwiretest.FakeTLSSecret)
				stop(nil)
				returned(t, served)
				echo(t, conn, 100)
				conn.Close()
			}
		})
	}
	running.Wait()
	echo(t, stays, 3)
	eventually(t, "one session is left", func() bool { return p.Stats().Open == 1 })
	if s := p.Stats(); s.Accepted != 21 || s.Authenticated != 21 {
		t.Errorf("%+v", s)
	}
}

// Serve, Close and clients at the same time: Serve returns ErrStopped, and no
// connection is left open.
func TestCloseBesideServe(t *testing.T) {
	dc, _ := dataCenter(t)
	for range 20 {
		p := newProxy(t, Config{DataCenters: allAt(dc)})
		ln := listen(t, "tcp", "127.0.0.1:0")
		served := make(chan error, 1)
		go func() { served <- p.Serve(context.Background(), ln) }()
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		client.Write(initOf(t, secretOf(t, mtwiretest.PlainSecret).Key, mtwire.Abridged))
		closeProxy(t, p)
		if err := returned(t, served); err != ErrStopped {
			t.Error(err)
		}
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Error("the client is not closed")
		}
		client.Close()
	}
}

// exhaustedListener is a listener whose first calls of Accept find no descriptor.
type exhaustedListener struct {
	net.Listener
	calls int
}

func (l *exhaustedListener) Accept() (net.Conn, error) {
	if l.calls--; l.calls >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// While there are no descriptors, a line a minute tells the operator, and each
// failed Accept is traced. Clients are accepted afterwards.
func TestWantOfDescriptorsIsLoggedOnce(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	ln := listen(t, "tcp", "127.0.0.1:0")
	var traced []error // until the first connection
	p := newProxy(t, Config{
		DataCenters: allAt(dc),
		Log:         log.logger(),
		Traces: []*Trace{{AcceptDelayed: func(address net.Addr, err error) {
			if address != ln.Addr() {
				t.Errorf("the listener is %v", address)
			}
			traced = append(traced, err)
		}}},
	})
	serve(t, p, &exhaustedListener{ln, 3})
	join(t, ln.Addr(), "secret="+mtwiretest.PlainSecret)
	if lines := log.lines("too many open files"); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
	if len(traced) != 3 || !errors.Is(traced[0], syscall.EMFILE) {
		t.Errorf("%v are traced", traced)
	}
}
