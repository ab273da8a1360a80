package proxy

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Memory is returned to the system after crowds: the garbage collector runs when
// the heap has grown, or after two minutes, so the memory of a thousand
// handshakes, or of a crowd that has left, would stay resident until then.
const (
	// minChurn is how many sessions must have come or gone before memory is
	// returned, and half of the open ones if that is more. A collection costs time
	// in proportion to the open ones.
	minChurn = 500
	// releaseDelay is the time from then until memory is returned: a crowd comes
	// and goes within seconds.
	releaseDelay = 5 * time.Second
	// releaseShare limits the time for that: one return takes at most this share of
	// the time to the next one.
	releaseShare = 100
)

// memoryRelease returns memory to the system. The zero value is ready for use.
type memoryRelease struct {
	churn     atomic.Int64 // sessions that have come or gone
	scheduled atomic.Bool
	earliest  time.Time // for the next; owned by the goroutine that has set scheduled
}

// changed notes that a session has come or gone. open is how many there are.
func (r *memoryRelease) changed(open int64) {
	if r.churn.Add(1) < max(minChurn, open/2) || !r.scheduled.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(max(releaseDelay, time.Until(r.earliest)), r.run)
}

func (r *memoryRelease) run() {
	r.churn.Store(0)
	begin := time.Now()
	debug.FreeOSMemory()
	r.earliest = time.Now().Add(releaseShare * time.Since(begin))
	r.scheduled.Store(false)
}
