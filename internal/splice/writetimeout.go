package splice

import (
	"errors"
	"sync/atomic"
	"time"
)

// ErrWriteTimeout is the error of a direction whose destination has taken no byte
// for Config.WriteTimeout.
var ErrWriteTimeout = errors.New("the peer took no bytes for the write timeout")

// writeChecks is how often within the write timeout a blocked write is looked at.
const writeChecks = 4

// writeWatch ends a direction whose writes make no progress. While there are
// writes, a timer compares their progress at intervals: setting a deadline for each
// write would cost more, and would not tell a peer that takes little from one that
// takes nothing, because the socket of either is not writable for long.
type writeWatch struct {
	d       *direction
	running atomic.Bool   // the timer runs
	writes  atomic.Uint64 // begun and ended ones: odd during a write

	// Owned by the timer's goroutine.
	last      progress
	unchanged int // intervals that last is unchanged

	timer *time.Timer // guarded by the pair's mu
}

// progress changes with every byte that the destination takes.
type progress struct {
	writes uint64
	moved  int64
	queued int // bytes that the destination's peer has not acknowledged
}

// begin must be followed by end. Both do nothing if w is nil.
func (w *writeWatch) begin() {
	if w == nil {
		return
	}
	w.writes.Add(1)
	if !w.running.Load() && w.running.CompareAndSwap(false, true) {
		w.next()
	}
}

func (w *writeWatch) end() {
	if w != nil {
		w.writes.Add(1)
	}
}

// next starts the timer, unless the direction has ended.
func (w *writeWatch) next() {
	p := w.d.pair
	interval := p.config.WriteTimeout / writeChecks
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over.Load() || w.d.ended:
	case w.timer == nil:
		w.timer = time.AfterFunc(interval, w.check)
	default:
		w.timer.Reset(interval)
	}
}

// stop stops the timer. Under the pair's mu.
func (w *writeWatch) stop() {
	if w != nil && w.timer != nil {
		w.timer.Stop()
	}
}

// check runs in the timer's goroutine.
func (w *writeWatch) check() {
	now := progress{writes: w.writes.Load(), moved: w.d.bytes.Load()}
	if now.writes%2 == 0 {
		w.last, w.unchanged = progress{}, 0
		w.running.Store(false)
		// A write that has begun meanwhile may have found the timer running.
		if w.writes.Load()%2 == 1 && w.running.CompareAndSwap(false, true) {
			w.next()
		}
		return
	}
	now.queued = queued(w.d.flow.Dst)
	if w.unchanged++; now != w.last {
		w.last, w.unchanged = now, 0
	}
	if w.unchanged == writeChecks {
		w.expire()
		return
	}
	w.next()
}

// expire ends the pair, unless the write has ended meanwhile.
func (w *writeWatch) expire() {
	p := w.d.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over.Load() || w.d.ended {
		return
	}
	if !p.failed.Load() {
		w.d.err = ErrWriteTimeout
	}
	p.endBoth()
}
