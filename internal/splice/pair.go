package splice

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Pair is two connections between which bytes are moved. It may hold no
// goroutine at all: see Config.Poller.
type Pair struct {
	poller       *Poller
	linger, idle time.Duration
	done         func(up, down Result)

	up, down direction

	mu   sync.Mutex
	open int         // directions that have not ended
	over atomic.Bool // both are to end; set under mu
}

// Start moves bytes as Run does, and returns at once. done is called when both
// directions have ended, once, from a goroutine of its own or of theirs.
//
// Whoever closes one of the connections from outside must call Abort: a
// direction that is parked does not notice.
func Start(up, down Flow, config *Config, done func(up, down Result)) *Pair {
	p := newPair(up, down, config, done)
	p.up.start()
	p.down.start()
	return p
}

func newPair(up, down Flow, config *Config, done func(up, down Result)) *Pair {
	p := &Pair{poller: config.Poller, linger: config.Linger, idle: config.Idle, done: done, open: 2}
	if p.linger == 0 {
		p.linger = DefaultLinger
	}
	if p.idle == 0 {
		p.idle = DefaultIdle
	}
	p.up.prepare(p, up)
	p.down.prepare(p, down)
	return p
}

// Moved returns how many bytes each direction has moved so far.
func (p *Pair) Moved() (up, down int64) { return p.up.bytes.Load(), p.down.bytes.Load() }

// Abort ends both directions. cause is what is reported, for one of them,
// unless they are at their end already.
func (p *Pair) Abort(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over.Load() || p.open == 0 {
		return
	}
	d := &p.up
	if d.ended || d.watching {
		d = &p.down
	}
	d.err = cause
	p.endBoth()
}

// endBoth makes the directions that run return from whatever they wait for,
// and ends those that are parked. Under mu.
func (p *Pair) endBoth() {
	p.over.Store(true)
	for _, d := range []*direction{&p.up, &p.down} {
		d.flow.Src.SetReadDeadline(longAgo)
		d.flow.Dst.SetWriteDeadline(longAgo)
		if d.parked {
			d.parked = false
			p.ended(d)
		}
	}
}

// ended is the last that is done about a direction. Under mu.
func (p *Pair) ended(d *direction) {
	d.ended = true
	if p.open--; p.open > 0 {
		return
	}
	if p.poller != nil {
		p.poller.remove(&p.up)
		p.poller.remove(&p.down)
	}
	go p.done(Result{p.up.bytes.Load(), p.up.err}, Result{p.down.bytes.Load(), p.down.err})
}

func (p *Pair) other(d *direction) *direction {
	if d == &p.up {
		return &p.down
	}
	return &p.up
}

// end is what a direction's goroutine does last: err is what ended it, nil for
// the end of the stream.
func (p *Pair) end(d *direction, err error) {
	if err == nil {
		err = closeWrite(d.flow.Dst)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	other := p.other(d)
	switch {
	case p.over.Load():
	case err != nil:
		d.err = err
		p.endBoth()
	case other.watching:
		other.flow.Src.SetReadDeadline(longAgo) // so that it ends too
	case !other.ended:
		other.lingering.Store(true)
		other.limit(p.linger)
		other.unpark()
		p.watchForReset(d)
	}
	p.ended(d)
}

// guard waits, when d's stream has ended, for as long as the other direction
// goes on. A peer that ended its stream may be gone altogether, which it says
// by a reset in answer to the next bytes it gets. Nobody would notice before
// the bytes after those, so this ends both. Under mu, which is free meanwhile.
func (p *Pair) watchForReset(d *direction) {
	if d.src == nil {
		return
	}
	d.watching = true
	d.flow.Src.SetReadDeadline(time.Time{})
	p.mu.Unlock()
	err := d.waitReset()
	p.mu.Lock()
	d.watching = false
	if other := p.other(d); err != nil && !other.ended && !p.over.Load() {
		other.err = err
		p.endBoth()
	}
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
