package service

import (
	"context"
	"runtime/debug"
	"time"
)

// How idle sessions move in an upgrade: evenly in time, so that both processes leave most of
// the processors to the sessions that move bytes, and with the memory of the old process
// shrinking as that of the new one grows.

const (
	// paceTime is how long the move of as many sessions takes as have paceSession each.
	// More move in that time as well, if the processors can.
	paceTime    = 1400 * time.Millisecond
	paceSession = 140 * time.Microsecond

	// releaseParts is into how many parts the sessions are divided, after each of which the
	// memory of those that have moved is released, and minReleased the fewest of a part. A
	// collection costs time in proportion to the sessions that are left.
	releaseParts = 16
	minReleased  = 250
)

// pace is that of one upgrade.
type pace struct {
	release    func()        // returns memory to the system
	begun      time.Time     // zero before the first session
	session    time.Duration // for each session
	all        int           // sessions that have moved
	part       int           // sessions of a part
	unreleased int           // sessions of this part
}

// newPace returns the pace of an upgrade that begins. It releases memory at once: the start of
// the other process has taken some.
func newPace(release func()) *pace {
	release()
	return &pace{release: release}
}

// moved notes that n more sessions have moved, and returns when the next may: at once if the
// move is late, or if ctx has ended. idle is how many are left.
func (p *pace) moved(ctx context.Context, n, idle int) {
	if p.begun.IsZero() {
		p.begun = time.Now()
		p.session = min(paceSession, paceTime/time.Duration(n+idle+1))
		p.part = max(minReleased, (n+idle)/releaseParts)
	}
	p.all, p.unreleased = p.all+n, p.unreleased+n
	if p.unreleased >= p.part || idle == 0 && p.unreleased > 0 {
		p.unreleased = 0
		p.release()
	}
	if idle == 0 {
		return
	}
	next := time.NewTimer(time.Until(p.begun.Add(time.Duration(p.all) * p.session)))
	defer next.Stop()
	select {
	case <-next.C:
	case <-ctx.Done():
	}
}

// releaseInParts returns a function that is releaseMemory, for several calls within seconds.
func releaseInParts() func() {
	pages := findProgramPages()
	return func() {
		debug.FreeOSMemory()
		pages.drop()
	}
}

// dropInterval is how often dropPages drops pages: while sessions move, as many as in the
// whole start are used by collections of garbage alone.
const dropInterval = 100 * time.Millisecond

// dropPages calls dropProgramPages, and again and again until stop is called.
func dropPages() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	pages := findProgramPages()
	pages.drop()
	go func() {
		ticker := time.NewTicker(dropInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				pages.drop()
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}
