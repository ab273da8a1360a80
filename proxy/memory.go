package proxy

import (
	"sync/atomic"
	"time"
)

// After a crowd of connections has come or gone, Config.ReleaseMemory is called: the
// garbage collector runs when the heap has grown, or after two minutes, so the memory of
// a thousand handshakes would stay resident until then.
const (
	// minChurn is how many sessions must have come or gone before memory is
	// released, and half of the open ones if that is more. A collection costs time
	// in proportion to the open ones.
	minChurn = 100
	// quietTime is how long the crowd must have ended: at most quietChurn sessions
	// have come or gone. What is released in its midst is needed again.
	quietTime  = time.Second
	quietChurn = 10
	// crowdLimit is how long a release waits for the end of a crowd.
	crowdLimit = 10 * time.Second
	// releaseShare limits the time for that: one release takes at most this share of
	// the time to the next one.
	releaseShare = 100
)

// memoryRelease decides when to release memory. It does nothing without a function.
type memoryRelease struct {
	release   func() // nil: memory is not released
	churn     atomic.Int64
	scheduled atomic.Bool

	// Owned by the goroutine that has set scheduled.
	seen     int64     // churn at the last look
	latest   time.Time // the crowd may go on then
	earliest time.Time // for the next release
}

// changed notes that a session has come or gone. open is how many there are.
func (r *memoryRelease) changed(open int64) {
	if r.release == nil {
		return
	}
	n := r.churn.Add(1)
	if n < max(minChurn, open/2) || r.scheduled.Load() || !r.scheduled.CompareAndSwap(false, true) {
		return
	}
	r.seen, r.latest = n, time.Now().Add(crowdLimit)
	time.AfterFunc(quietTime, r.look)
}

// look releases memory if the crowd has ended, and looks again later if not.
func (r *memoryRelease) look() {
	n, now := r.churn.Load(), time.Now()
	quiet := n-r.seen <= quietChurn || !now.Before(r.latest)
	if r.seen = n; !quiet || now.Before(r.earliest) {
		time.AfterFunc(quietTime, r.look)
		return
	}
	r.churn.Add(-n)
	r.release()
	r.earliest = time.Now().Add(releaseShare * time.Since(now))
	r.scheduled.Store(false)
}
