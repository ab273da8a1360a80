package netx

import (
	"context"
	"sync"
	"time"
)

// Deadline makes the calls of one direction of a connection return when their contexts
// end. It stays registered with the context of the last call, because the next call
// usually has the same one and a registration allocates. A context that ends between
// two calls has no effect.
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

// Watch begins a call that the end of ctx ends, and must be followed by Unwatch. If
// ctx has ended already, it returns ctx's error and there is no call.
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

// expire unblocks the call whose context has the channel done, if there is one.
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

// SetLimit sets a deadline in addition to the context's, or removes it if t is zero.
func (d *Deadline) SetLimit(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.expired && !d.closed { // an ended context takes precedence
		d.set(t)
	}
}

// detach ends the registration. The caller holds mu.
func (d *Deadline) detach() {
	if d.stop != nil {
		d.stop()
	}
	d.done, d.stop = nil, nil
}

// Close ends the registration and clears the deadline. Afterwards d sets none.
func (d *Deadline) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.detach()
	if !d.closed && d.set != nil {
		d.set(time.Time{})
	}
	d.closed = true
}
