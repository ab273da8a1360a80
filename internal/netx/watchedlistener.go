package netx

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// WatchedListener is a listener whose accept loop can be asked whether it runs: see Responds.
// Shortages, after which the loop is to try again, are temporary errors for package net/http,
// too. Watch makes it. Accept is for one goroutine, and the other methods may be called
// concurrently.
type WatchedListener struct {
	net.Listener
	ended chan struct{} // closed by End
	end   sync.Once

	hasFailed bool // Accept's: it has failed when it was called last

	isAsked atomic.Bool // len(asked) > 0
	mu      sync.Mutex
	asked   []chan struct{} // closed by the next Accept
	failed  time.Time       // when Accept failed; zero since it was called again
}

// Watch returns ln for an accept loop, which calls End when it is over.
func Watch(ln net.Listener) *WatchedListener {
	return &WatchedListener{Listener: ln, ended: make(chan struct{})}
}

// End notes that the accept loop is over, and is not asked any more. It may be called again.
func (ln *WatchedListener) End() { ln.end.Do(func() { close(ln.ended) }) }

// deadliner is a listener whose Accept can be woken.
type deadliner interface{ SetDeadline(time.Time) error }

// Accept returns the next connection.
func (ln *WatchedListener) Accept() (net.Conn, error) {
	for {
		if ln.hasFailed || ln.isAsked.Load() {
			ln.answer()
		}
		conn, err := ln.Listener.Accept()
		switch {
		case err == nil:
			return conn, nil
		case ln.isAsked.Load() && errors.Is(err, os.ErrDeadlineExceeded):
			continue
		}
		ln.hasFailed = true
		ln.mu.Lock()
		ln.failed = time.Now()
		ln.mu.Unlock()
		if IsTemporary(err) {
			err = &temporaryError{err}
		}
		return nil, err
	}
}

// answer answers those that have asked: the loop has come back to Accept.
func (ln *WatchedListener) answer() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.hasFailed, ln.failed = false, time.Time{}
	if len(ln.asked) == 0 {
		return
	}
	ln.Listener.(deadliner).SetDeadline(time.Time{})
	for _, asked := range ln.asked {
		close(asked)
	}
	ln.asked = nil
	ln.isAsked.Store(false)
}

// Responds returns nil when the accept loop has come back to Accept, pauses after a temporary
// error, or is over. It returns the cause of ctx's end if that is before. A listener without
// SetDeadline is not asked.
func (ln *WatchedListener) Responds(ctx context.Context) error {
	listener, ok := ln.Listener.(deadliner)
	if !ok {
		return nil
	}
	select {
	case <-ln.ended: // no Accept would answer
		return nil
	default:
	}
	ln.mu.Lock()
	if !ln.failed.IsZero() && time.Since(ln.failed) < 2*maxPause {
		ln.mu.Unlock()
		return nil
	}
	answered := make(chan struct{})
	ln.asked = append(ln.asked, answered)
	ln.isAsked.Store(true)
	err := listener.SetDeadline(longAgo)
	ln.mu.Unlock()
	if errors.Is(err, net.ErrClosed) { // Accept returns, and the loop ends
		return nil
	}
	select {
	case <-answered:
		return nil
	case <-ln.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// temporaryError is an error after which an accept loop is to try again.
type temporaryError struct{ error }

func (e *temporaryError) Unwrap() error   { return e.error }
func (e *temporaryError) Timeout() bool   { return false }
func (e *temporaryError) Temporary() bool { return true }
