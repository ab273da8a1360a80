package splice

import (
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// After an error of one connection, which is a reset mostly, its last bytes still
// have to arrive at the other: a server that refuses what a client sends answers
// with an alert, and resets the connection if the client has sent more meanwhile.
// The write that reports the reset must not end the direction in which the alert
// comes, and neither must a close that discards what is not acknowledged yet.

// failedEnd is which connection of a direction has failed.
type failedEnd uint8

const (
	sourceFailed failedEnd = iota
	destinationFailed
)

// fail ends the pair because of an error of one of d's connections. Under mu.
func (p *Pair) fail(d *direction, failed failedEnd, err error) {
	p.endSuspension()
	d.err = err
	if netx.IsTimeout(err) { // the end of the linger, or a source's own deadline
		p.endBoth()
		return
	}
	p.failed.Store(true)
	switch failed {
	case sourceFailed: // it has been read to its end
		p.broken, p.intact, p.until = &d.flow.Src, &d.flow.Dst, time.Now().Add(p.config.linger())
		p.endBoth()
	case destinationFailed:
		p.broken, p.intact = &d.flow.Dst, &p.other(d).flow.Dst
		p.drain(p.other(d))
	}
}

// drain lets d deliver what its source, which has failed, has received before.
// Its peer sends nothing more, so d ends by itself, but after the linger at the
// latest: the failure may have been one of writes only. Under mu.
func (p *Pair) drain(d *direction) {
	d.lingering.Store(true)
	d.limit(p.config.linger())
	switch {
	case d.ended, d.watching:
		p.endBoth()
	case d.stopPause():
		go d.run()
	default:
		d.unpark()
	}
}

// The times between two looks at a queue that is not acknowledged.
const (
	minQueueCheck = time.Millisecond
	maxQueueCheck = 50 * time.Millisecond
)

// awaitDelivery waits after a failure until the peer of the intact connection has
// acknowledged all bytes, or until the linger is over or Abort is called.
func (p *Pair) awaitDelivery() {
	if !p.failed.Load() {
		return
	}
	for pause := minQueueCheck; !p.aborted.Load() && time.Now().Before(p.until) && unacknowledged(*p.intact); {
		time.Sleep(pause)
		pause = min(2*pause, maxQueueCheck)
	}
}
