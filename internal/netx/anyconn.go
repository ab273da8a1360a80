package netx

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stuckTime is how long a call may go on after its deadline before its connection is
// closed.
const stuckTime = time.Second

// WithDeadlines returns a connection over conn whose deadlines work as package net
// documents, whatever conn is: a channel of SSH, a stream of a multiplexer or of a
// network stack in user space.
//
//   - A call that its deadline ended returns os.ErrDeadlineExceeded, in place of
//     conn's own timeout.
//   - If conn has no deadlines, because SetDeadline fails, goroutines read and write
//     it. A call returns at its deadline, and what its goroutine reads later belongs
//     to the next Read. After a Write that its deadline ended, all later ones fail.
//   - If a deadline does not end a call of conn within a second, conn is closed.
//
// It returns conn itself if that is a TCP or Unix socket or over one, as TLS is. Else
// it clears conn's deadlines.
func WithDeadlines(conn net.Conn) net.Conn {
	if keepsDeadlines(conn) {
		return conn
	}
	err := errors.Join(conn.SetReadDeadline(time.Time{}), conn.SetWriteDeadline(time.Time{}))
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return &checkedConn{Conn: conn}
	}
	return newPumpedConn(conn)
}

// keepsDeadlines reports whether conn needs no other connection over it.
func keepsDeadlines(conn net.Conn) bool {
	for {
		switch c := conn.(type) {
		case *net.TCPConn, *net.UnixConn, *Socket, *checkedConn, *pumpedConn:
			return true
		case *tls.Conn:
			conn = c.NetConn()
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return false
		}
	}
}

// checkedConn is a connection with deadlines of its own.
type checkedConn struct {
	net.Conn
	reads, writes watchdog
}

func (c *checkedConn) Read(p []byte) (int, error)  { return c.reads.call(p, c.Conn.Read) }
func (c *checkedConn) Write(p []byte) (int, error) { return c.writes.call(p, c.Conn.Write) }

// NetConn returns the connection below.
func (c *checkedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the sending direction, if the connection below can.
func (c *checkedConn) CloseWrite() error { return CloseWrite(c.Conn) }

func (c *checkedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *checkedConn) SetReadDeadline(t time.Time) error {
	c.reads.arm(t, c.Conn)
	return c.Conn.SetReadDeadline(t)
}

func (c *checkedConn) SetWriteDeadline(t time.Time) error {
	c.writes.arm(t, c.Conn)
	return c.Conn.SetWriteDeadline(t)
}

// watchdog closes a connection whose deadline does not end the calls of a direction.
type watchdog struct {
	mu       sync.Mutex
	running  int // calls
	deadline time.Time
	timer    *time.Timer // ends stuckTime after deadline, nil without one
	stuck    bool        // the connection was closed
}

// call makes one call of Read or Write.
func (w *watchdog) call(p []byte, f func([]byte) (int, error)) (int, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	n, err := f(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	if err != nil && (w.stuck || IsTimeout(err)) {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

func (w *watchdog) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stuck:
		return net.ErrClosed
	case !w.deadline.IsZero() && !time.Now().Before(w.deadline):
		return os.ErrDeadlineExceeded
	}
	w.running++
	return nil
}

// arm sets the deadline, whose calls must have ended stuckTime later. Calls that
// begin after a deadline are not made.
func (w *watchdog) arm(deadline time.Time, conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = deadline
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if deadline.IsZero() {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(max(0, time.Until(deadline))+stuckTime, func() {
		w.mu.Lock()
		w.stuck = w.stuck || w.timer == timer && w.running > 0
		closing := w.stuck && w.timer == timer
		w.mu.Unlock()
		if closing {
			conn.Close()
		}
	})
	w.timer = timer
}
