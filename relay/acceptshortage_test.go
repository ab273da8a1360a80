package relay_test

import (
	"context"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// shortListener is a listener without descriptors while short returns true.
type shortListener struct {
	pipeListener
	short   func() bool
	fails   atomic.Int32
	backlog net.Conn // a connection that could not be accepted
}

func (l *shortListener) Accept() (conn net.Conn, err error) {
	if conn = l.backlog; conn == nil {
		if conn, err = l.pipeListener.Accept(); err != nil {
			return nil, err
		}
	}
	if l.backlog = nil; l.short() {
		l.backlog = conn
		l.fails.Add(1)
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return conn, nil
}

// newPipeRelay returns a relay to a server that is connected by pipes.
func newPipeRelay(t *testing.T, log *logLines) *relay.Relay {
	r, err := relay.New(relay.Config{
		To: []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT", "192.0.2.1:443")}, Log: log.logger(),
		Dial: &mtwire.DialConfig{DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go serve(t.Context(), mtwire.Server(theirs, nil))
			return ours, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// connect returns a client whose connection is to be accepted.
func (l *shortListener) connect(t *testing.T) *mtwire.Conn {
	ours, theirs := net.Pipe()
	l.pipeListener <- ours
	client, err := mtwire.Client(t.Context(), theirs, mtwire.Endpoint{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// If there is no descriptor for a new client, silent ones make room; a relay without any waits, and
// goes on when there are some. A record tells the operator, once a minute.
func TestClientsMakeRoomForANewOneWithoutADescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logLines)
		r := newPipeRelay(t, log)
		var exhausted atomic.Bool
		ln := &shortListener{pipeListener: make(pipeListener), short: func() bool {
			return exhausted.Load() || r.Stats().Unauthenticated >= 5
		}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		served := make(chan error, 1)
		go func() { served <- mtwire.NewListener(r.Listener(ln), nil).Serve(ctx, r.Handle) }()
		connect := func() *mtwire.Conn { return ln.connect(t) }
		for range 5 {
			defer connect().Close()
		}
		synctest.Wait()
		client := connect()
		if !answers(t, client) {
			t.Fatal("a new client gets no answer")
		}
		client.Close()
		if stats := r.Stats(); stats.Evicted != 5 {
			t.Errorf("%+v", stats)
		}

		exhausted.Store(true)
		before := ln.fails.Load()
		last := connect()
		time.Sleep(30 * time.Second)
		exhausted.Store(false)
		if !answers(t, last) {
			t.Fatal("no answer after the shortage")
		}
		last.Close()
		cancel()
		close(ln.pipeListener)
		<-served
		if n := ln.fails.Load() - before; n < 30 || n > 40 {
			t.Errorf("Accept was called %d times in 30 seconds", n)
		}
		if n := strings.Count(log.String(), "no connection can be accepted"); n != 1 {
			t.Errorf("%d records:\n%v", n, log)
		}
	})
}

// Clients that make room in vain are few: others have the descriptors then.
func TestFewClientsMakeRoomInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRelay(t, new(logLines))
		var exhausted atomic.Bool
		ln := &shortListener{pipeListener: make(pipeListener), short: exhausted.Load}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		served := make(chan error, 1)
		go func() { served <- mtwire.NewListener(r.Listener(ln), nil).Serve(ctx, r.Handle) }()
		for range 100 {
			defer ln.connect(t).Close()
		}
		synctest.Wait()
		exhausted.Store(true)
		last := ln.connect(t)
		synctest.Wait()
		if n := r.Stats().Evicted; n != 16 {
			t.Errorf("at first %d make room", n)
		}
		time.Sleep(10 * time.Minute)
		if n := r.Stats().Evicted; n != 3*16 {
			t.Errorf("in ten minutes %d make room", n)
		}
		exhausted.Store(false)
		if !answers(t, last) {
			t.Error("no answer after the shortage")
		}
		last.Close()
		cancel()
		close(ln.pipeListener)
		<-served
	})
}
