package splice

import (
	"errors"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// Suspension: a pair stops where no byte of it is in the process, so that its sockets
// and a few numbers are all that there is of it. Continue goes on from those, also in
// another process that has been sent the sockets. What arrives meanwhile stays in the
// kernel.
//
// A direction stops after a write of all that it has read. Until then it goes on.

// errSuspend ends a transfer of a direction that is to be suspended. No bytes are lost.
var errSuspend = errors.New("suspended")

// FlowState is what there is of a direction besides its connections.
type FlowState struct {
	// Bytes is how many bytes have moved.
	Bytes int64
	// Ended reports whether the stream of the source has ended; the destination is
	// half-closed then.
	Ended bool
	// Bodies is how many bodies of Framing.Leading and Framing.Ramp were sent.
	Bodies int
	// Inspected reports whether Flow.Inspect has returned false, or was nil.
	Inspected bool
}

// Suspend stops both directions, each as soon as all bytes that it has read are
// written. It calls suspended once, under the pair's lock, so that suspended must not
// block or call the pair: with true when both have stopped, or with false if the pair
// ends first, if Resume is called first, or if the pair has no Poller or a connection
// is no bare socket.
//
// The caller of Suspend calls Resume or Release at some time. Abort, and an error that
// comes before both have stopped, end the suspension and then the pair.
func (p *Pair) Suspend(suspended func(ok bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.suspendable() {
		suspended(false)
		return
	}
	p.suspended = suspended
	p.suspending.Store(true)
	for _, d := range []*direction{&p.up, &p.down} {
		switch {
		case d.ended:
		case d.parked || d.stopPause():
			d.parked = false
			d.halt()
		default: // unblocks its read
			d.kicked = d.watching
			d.flow.Src.SetReadDeadline(longAgo)
		}
	}
	p.checkSuspended()
}

// Suspendable reports whether Suspend can stop the pair, and idle whether at once: both
// directions are parked, paused or over.
func (p *Pair) Suspendable() (ok, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	still := func(d *direction) bool { return d.ended || d.parked || d.paused != nil }
	return p.suspendable(), still(&p.up) && still(&p.down)
}

// suspendable reports whether Suspend can stop the pair. Under mu.
func (p *Pair) suspendable() bool {
	bare := p.up.src != nil && p.up.dst != nil && p.down.src != nil && p.down.dst != nil
	return bare && p.config.Poller != nil && !p.suspending.Load() && !p.over.Load() && !p.failed.Load() && p.open > 0
}

// CancelSuspend is Resume if not both directions have stopped yet. Otherwise it does
// nothing.
func (p *Pair) CancelSuspend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.suspended != nil {
		p.endSuspension()
	}
}

// State returns the state of a suspended pair's directions.
func (p *Pair) State() (up, down FlowState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up.state(), p.down.state()
}

// state is State. Under mu.
func (d *direction) state() FlowState {
	return FlowState{d.bytes.Load(), d.ended || d.watching, d.frames.cut, d.flow.Inspect == nil}
}

// Resume goes on after Suspend. It does nothing if the pair is not suspended.
func (p *Pair) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endSuspension()
}

// Release gives the connections of a suspended pair up, and reports whether it could:
// the pair is over, done is not called, and the connections are the caller's. It
// returns false if the pair is not suspended any more.
func (p *Pair) Release() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.suspending.Load() || p.suspended != nil || p.over.Load() {
		return false
	}
	p.suspending.Store(false)
	p.over.Store(true)
	p.open = 0
	for _, d := range []*direction{&p.up, &p.down} {
		d.ended = true
		p.config.Poller.leave(d)
		d.watch.stop()
		if d.lingers != nil {
			d.lingers.Stop()
		}
	}
	return true
}

// Continue starts a pair as Start does, which goes on from the state of a suspended
// one. Not both directions may have ended.
func Continue(up, down Flow, upState, downState FlowState, config *Config, done func(up, down Result)) *Pair {
	p := newPair(up, down, config, done)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up.restore(upState)
	p.down.restore(downState)
	p.up.proceed()
	p.down.proceed()
	return p
}

// restore sets the state of a direction that is not started yet.
func (d *direction) restore(s FlowState) {
	d.bytes.Store(s.Bytes)
	d.frames.cut = s.Bodies
	if s.Inspected {
		d.flow.Inspect = nil
	}
	if s.Ended {
		d.watching = true
		d.closing.Store(true)
		d.pair.other(d).lingering.Store(true)
	}
}

// proceed starts a direction that is suspended, or not started yet. Under mu.
func (d *direction) proceed() {
	p := d.pair
	d.suspended = false
	d.flow.Src.SetReadDeadline(time.Time{})
	switch {
	case d.watching:
		if d.parked = p.config.Poller != nil && p.config.Poller.park(d); !d.parked {
			go d.watchAgain()
		}
	case d.lingering.Load():
		p.until = time.Now().Add(p.config.linger())
		d.startGoroutine()
	default:
		if d.parked = p.config.Poller != nil && d.src != nil && p.config.Poller.park(d); !d.parked {
			d.startGoroutine()
		}
	}
}

// watchAgain is watchForReset in a goroutine of its own.
func (d *direction) watchAgain() {
	p := d.pair
	p.mu.Lock()
	over := !p.watchForReset(d) && p.ended(d)
	p.mu.Unlock()
	if over {
		p.finish()
	}
}

// halt suspends d, which has no goroutine and nothing to write. Under mu.
func (d *direction) halt() {
	d.suspended = true
	d.pair.config.Poller.leave(d)
}

// suspend suspends d after a transfer that has ended with err, if it is to be: then it
// returns true, and the goroutine must return.
func (d *direction) suspend(err error) bool {
	if _, paused := err.(pauseFor); err != errSuspend && !paused && !netx.IsTimeout(err) {
		return false
	}
	p := d.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.suspending.Load() || p.over.Load() || p.failed.Load() || d.cut {
		return false
	}
	if d.flow.Parked != nil {
		d.flow.Parked()
	}
	if d.watch != nil && !d.watch.running.Load() {
		d.watch = nil
	}
	d.halt()
	p.checkSuspended()
	return true
}

// checkSuspended calls the function given to Suspend when both directions have stopped.
// Under mu.
func (p *Pair) checkSuspended() {
	stopped := func(d *direction) bool { return d.ended || d.suspended }
	if p.suspended != nil && stopped(&p.up) && stopped(&p.down) {
		p.notify(true)
	}
}

// notify calls the function given to Suspend. Under mu.
func (p *Pair) notify(ok bool) {
	if suspended := p.suspended; suspended != nil {
		p.suspended = nil
		suspended(ok)
	}
}

// endSuspension has both directions go on, if they are suspended or to be. Under mu.
func (p *Pair) endSuspension() {
	if !p.suspending.Load() {
		return
	}
	p.suspending.Store(false)
	for _, d := range []*direction{&p.up, &p.down} {
		switch {
		case d.suspended:
			d.proceed()
		case !d.ended && d.lingering.Load(): // the others park, or look at kicked
			d.setDeadlines()
		}
	}
	p.notify(false)
}
