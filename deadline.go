package mtwire

import (
	"context"
	"sync"
	"time"
)

// longAgo is a deadline that has passed: setting it unblocks a call at once.
var longAgo = time.Unix(1, 0)

// deadline makes one direction of a connection follow a context. It stays
// registered with a context after the call that brought it, since the next
// call usually brings the same one, and registering costs an allocation.
//
// set is SetReadDeadline or SetWriteDeadline of the connection.
type deadline struct {
	set func(time.Time) error

	mu    sync.Mutex
	done  <-chan struct{} // of the context registered with, nil if none
	stop  func() bool
	stale bool // a deadline is set on the connection
	ended bool // close was called
}

// retarget makes the deadline that of another connection, a layer above or
// below the one before.
func (d *deadline) retarget(set func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set = set
	if d.stale {
		d.set(longAgo)
	}
}

// follow makes ctx the one that ends the calls to come. It fails if ctx has
// ended already.
func (d *deadline) follow(ctx context.Context) error {
	done := ctx.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	if done != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if done == d.done || d.ended {
		return nil
	}
	d.leave()
	if done == nil {
		return nil
	}
	d.done = done
	d.stop = context.AfterFunc(ctx, func() { d.expire(done) })
	return nil
}

// expire unblocks the calls that follow the context of done, if they still do.
func (d *deadline) expire(done <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == done && !d.ended {
		d.stale = true
		d.set(longAgo)
	}
}

// limit sets a deadline of its own beside the context's, until the next
// change of context or unlimit.
func (d *deadline) limit(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stale { // else the context has ended: that goes first
		d.set(t)
	}
}

// unlimit takes the deadline of limit away.
func (d *deadline) unlimit() { d.limit(time.Time{}) }

// leave drops the registration and what it may have set. Under mu.
func (d *deadline) leave() {
	if d.stop != nil {
		d.stop()
	}
	d.done, d.stop = nil, nil
	if d.stale {
		d.stale = false
		d.set(time.Time{})
	}
}

// close drops the registration for good.
func (d *deadline) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
	}
	d.done, d.stop, d.ended = nil, nil, true
}

// cause returns the context's error if the context is why err came.
func cause(ctx context.Context, err error) error {
	if err != nil && isTimeout(err) {
		if ended := ctx.Err(); ended != nil {
			return ended
		}
	}
	return err
}
