package splice

import "time"

// Rate limit: a direction pauses for as long as Flow.Delay returns. It gives its
// goroutine up, as it does when it is parked, and a timer in place of the poller
// starts the next one.

// pauseFor ends a transfer after which the direction pauses for that long. The
// transfer's buffer or pipe is free by then.
type pauseFor time.Duration

func (pauseFor) Error() string { return "paused" }

// With a rate limit a direction reads as much at once as takes it about longPause/2 to
// longPause, within these bounds, since all of it is written before it pauses. A pipe
// of 256 KiB would be a pause of seconds at a low rate, and connections that share the
// rate would take turns. Without pauses the limit is out of the way after a few reads.
const (
	leastRead = 16 << 10
	mostRead  = 256 << 10
	longPause = 100 * time.Millisecond
)

// limitRead returns the maximum number of bytes of the next read, at most limit. 0
// means no limit, as limit and as the result.
func (d *direction) limitRead(limit int) int {
	if d.flow.Delay == nil {
		return limit
	}
	d.most = max(d.most, leastRead)
	if limit > 0 {
		return min(limit, int(d.most))
	}
	return int(d.most)
}

// adapt changes the limit after n bytes for which the direction pauses that long.
func (d *direction) adapt(n int, delay time.Duration) {
	switch {
	case delay > longPause:
		d.most = max(d.most/2, leastRead)
	case delay < longPause/2 && n >= int(d.most/2):
		d.most = min(2*max(d.most, leastRead), mostRead)
	}
}

// delayed calls Flow.Holds and Flow.Delay after n bytes were written, all that were
// read. It returns a pauseFor if the direction must pause, errSuspend if it is to be
// suspended, and nil otherwise.
func (d *direction) delayed(n int) error {
	d.holds(false)
	if d.flow.Delay != nil && n > 0 {
		delay := d.flow.Delay(n)
		d.adapt(n, delay)
		if delay > 0 {
			return pauseFor(delay)
		}
	}
	if d.pair.suspending.Load() {
		return errSuspend
	}
	return nil
}

// pause starts the timer of a pause. If it returns true, the goroutine must
// return. It returns false if the pair is over or has failed, or is to be suspended.
func (d *direction) pause(delay time.Duration) bool {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if d.pair.over.Load() || d.pair.failed.Load() || d.pair.suspending.Load() {
		return false
	}
	d.paused = time.AfterFunc(delay, d.resume)
	return true
}

// resume runs the direction after a pause, unless that goes on, in the timer's
// goroutine. The linger begins anew: what the source sent meanwhile could not be read.
func (d *direction) resume() {
	d.pair.mu.Lock()
	if d.paused == nil { // endBoth was first
		d.pair.mu.Unlock()
		return
	}
	d.paused = nil
	if d.lingering.Load() {
		d.limit(d.pair.config.linger())
	}
	d.pair.mu.Unlock()
	if delay := d.flow.Delay(0); delay > 0 && d.pause(delay) {
		return
	}
	d.run()
}

// stopPause ends a pause without a goroutine, and reports whether there was one.
// Under the pair's mu.
func (d *direction) stopPause() bool {
	if d.paused == nil {
		return false
	}
	d.paused.Stop()
	d.paused = nil
	return true
}
