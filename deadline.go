package mtwire

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// longAgo is a deadline that has passed: setting it unblocks a call at once.
var longAgo = time.Unix(1, 0)

// deadline makes the calls of one direction of a connection follow their
// context. It stays registered with a context after the call that brought it,
// since the next call usually brings the same one, and registering costs an
// allocation. A context that ends between two calls does nothing.
type deadline struct {
	mu      sync.Mutex
	set     func(time.Time) error // SetReadDeadline or SetWriteDeadline
	done    <-chan struct{}       // of the context registered with, nil if none
	stop    func() bool
	running bool // a call follows the context
	expired bool // the context ended during it
	ended   bool // close was called
}

// retarget makes the deadline that of another connection, a layer above or
// below the one before.
func (d *deadline) retarget(set func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set = set
	if d.expired {
		d.set(longAgo)
	}
}

// follow makes ctx the one that ends the call that begins here, and must be
// followed by unfollow. It fails if ctx has ended already; then there is no
// call.
func (d *deadline) follow(ctx context.Context) error {
	done := ctx.Done()
	if done != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return nil
	}
	d.running = true
	if done == d.done {
		return nil
	}
	d.leave()
	if done != nil {
		d.done = done
		d.stop = context.AfterFunc(ctx, func() { d.expire(done) })
	}
	return nil
}

// expire unblocks the call that follows the context of done, if there is one.
func (d *deadline) expire(done <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done != done || d.ended {
		return
	}
	d.done, d.stop = nil, nil
	if d.running {
		d.expired = true
		d.set(longAgo)
	}
}

// unfollow ends the call.
func (d *deadline) unfollow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = false
	if d.expired {
		d.expired = false
		d.set(time.Time{})
	}
}

// limit sets a deadline of its own beside the context's, or takes it away.
func (d *deadline) limit(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.expired && !d.ended { // else there is a stronger reason
		d.set(t)
	}
}

// leave drops the registration. Under mu.
func (d *deadline) leave() {
	if d.stop != nil {
		d.stop()
	}
	d.done, d.stop = nil, nil
}

// close drops the registration for good.
func (d *deadline) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave()
	d.ended = true
}

// cause returns the context's error if the context is why err came.
func cause(ctx context.Context, err error) error {
	if isTimeout(err) {
		if ended := ctx.Err(); ended != nil {
			return ended
		}
	}
	return err
}

// isTimeout says whether a deadline has passed. A peer that is no longer there
// times out as well (ETIMEDOUT), but that is the end of the connection.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
