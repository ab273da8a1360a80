package netx

import (
	"context"
	"sync"
	"time"
)

// Deadline makes the calls of one direction of a connection follow their
// contexts. It stays registered with a context after the call that brought it,
// because the next call usually brings the same one and registering allocates. A
// context that ends between two calls does nothing.
//
// The zero value needs a Rebind. All methods may be called concurrently.
type Deadline struct {
	mu      sync.Mutex
	set     func(time.Time) error // SetReadDeadline or SetWriteDeadline
	done    <-chan struct{}       // of the context registered with, nil if none
	stop    func() bool
	running bool // between Watch and Unwatch
	expired bool // the context ended during the call
	closed  bool
}

// Rebind makes d the deadline of another connection, one layer above or below
// the previous one. set is its SetReadDeadline or SetWriteDeadline.
func (d *Deadline) Rebind(set func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set = set
	if d.expired {
		d.set(longAgo)
	}
}

// Watch makes the end of ctx end the call that begins now, and must be followed
// by Unwatch. It returns ctx's error if ctx has ended already; then there is no
// call.
func (d *Deadline) Watch(ctx context.Context) error {
	done := ctx.Done()
	if done != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.running = true
	if done == d.done {
		return nil
	}
	d.detach()
	if done != nil {
		d.done = done
		d.stop = context.AfterFunc(ctx, func() { d.expire(done) })
	}
	return nil
}

// expire unblocks the call that follows the context of done, if there is one.
func (d *Deadline) expire(done <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done != done || d.closed {
		return
	}
	d.done, d.stop = nil, nil
	if d.running {
		d.expired = true
		d.set(longAgo)
	}
}

// Unwatch ends the call.
func (d *Deadline) Unwatch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = false
	if d.expired {
		d.expired = false
		d.set(time.Time{})
	}
}

// SetLimit sets a deadline beside the context's, or removes it if t is zero.
func (d *Deadline) SetLimit(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.expired && !d.closed { // the context's deadline is stronger
		d.set(t)
	}
}

// detach drops the registration. Under mu.
func (d *Deadline) detach() {
	if d.stop != nil {
		d.stop()
	}
	d.done, d.stop = nil, nil
}

// Close drops the registration for good and clears the deadline: d sets none any
// more.
func (d *Deadline) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.detach()
	if !d.closed && d.set != nil {
		d.set(time.Time{})
	}
	d.closed = true
}
