package netx

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// maxPump is the largest number of bytes in one Read or Write of a pumpedConn's
// goroutines.
const maxPump = 32 << 10

// errAbandoned is the error of a Write after one that its deadline ended: that one's
// goroutine may still be sending.
var errAbandoned = fmt.Errorf("an earlier Write was abandoned: %w", net.ErrClosed)

// pumpedConn gives deadlines to a connection that has none: a goroutine makes each
// call of Read and Write, and the caller leaves it alone when the deadline has passed.
type pumpedConn struct {
	net.Conn
	reads, writes pump

	close  sync.Once
	closed chan struct{}
}

// pump is one direction.
type pump struct {
	mu      sync.Mutex
	results chan pumped // of the goroutine
	running bool        // there is one, and its result was not received
	buffer  []byte      // the goroutine's while it runs
	rest    []byte      // of a Read: what was not returned yet
	err     error       // final
	expiry  expiry
}

type pumped struct {
	n   int
	err error
}

func newPumpedConn(conn net.Conn) *pumpedConn {
	c := &pumpedConn{Conn: conn, closed: make(chan struct{})}
	for _, p := range []*pump{&c.reads, &c.writes} {
		p.results = make(chan pumped, 1)
		p.expiry.passed = make(chan struct{})
	}
	return c
}

// Read returns what a goroutine has read, one started by an earlier Read if there is
// one. It reads at most len(p) bytes ahead.
func (c *pumpedConn) Read(p []byte) (int, error) {
	r := &c.reads
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := c.check(r); err != nil || len(p) == 0 {
		return 0, err
	}
	if len(r.rest) == 0 && r.err == nil {
		if !r.running {
			if size := min(len(p), maxPump); len(r.buffer) < size {
				r.buffer = make([]byte, size)
			}
			c.start(r, r.buffer[:min(len(p), len(r.buffer))], c.Conn.Read)
		}
		n, err := c.await(r)
		if err != nil {
			return 0, err
		}
		r.rest = r.buffer[:n]
	}
	if len(r.rest) > 0 {
		n := copy(p, r.rest)
		r.rest = r.rest[n:]
		return n, nil
	}
	return 0, r.err
}

// Write writes a copy of p. After a timeout, the number of bytes that are or will be
// sent is unknown.
func (c *pumpedConn) Write(p []byte) (n int, err error) {
	w := &c.writes
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := c.check(w); err != nil {
		return 0, err
	}
	for w.err == nil && n < len(p) {
		w.buffer = append(w.buffer[:0], p[n:min(len(p), n+maxPump)]...)
		c.start(w, w.buffer, c.Conn.Write)
		k, err := c.await(w)
		if n += k; err != nil {
			w.err = errAbandoned
			return n, err
		}
	}
	return n, w.err
}

// check returns the error of a call that is not made.
func (c *pumpedConn) check(p *pump) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	case <-p.expiry.wait():
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

// start calls f in a goroutine.
func (c *pumpedConn) start(p *pump, b []byte, f func([]byte) (int, error)) {
	p.running = true
	go func() {
		n, err := f(b)
		p.results <- pumped{n, err}
	}()
}

// await returns the number of bytes that the goroutine has read or written, and
// stores its error. The error returned is that of a deadline, or net.ErrClosed.
func (c *pumpedConn) await(p *pump) (int, error) {
	select {
	case r := <-p.results:
		p.running, p.err = false, r.err
		return r.n, nil
	case <-p.expiry.wait():
		return 0, os.ErrDeadlineExceeded
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

// Close closes the connection below and ends blocked calls at once.
func (c *pumpedConn) Close() error {
	c.close.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// NetConn returns the connection below.
func (c *pumpedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the sending direction, if the connection below can.
func (c *pumpedConn) CloseWrite() error { return CloseWrite(c.Conn) }

func (c *pumpedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *pumpedConn) SetReadDeadline(t time.Time) error { return c.set(&c.reads, t) }

func (c *pumpedConn) SetWriteDeadline(t time.Time) error { return c.set(&c.writes, t) }

func (c *pumpedConn) set(p *pump, t time.Time) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
		p.expiry.set(t)
		return nil
	}
}

// expiry is a deadline as a channel.
type expiry struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed when the deadline has passed
}

// wait returns a channel that is closed when the deadline has passed. A deadline that
// is set later, while it has not passed, closes the same channel.
func (e *expiry) wait() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.passed
}

// set sets the deadline, or removes it if t is zero.
func (e *expiry) set(t time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	select {
	case <-e.passed:
		e.passed = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	passed := e.passed
	left := time.Until(t)
	if left <= 0 {
		close(passed)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.timer == timer {
			e.timer = nil
			close(passed)
		}
	})
	e.timer = timer
}
