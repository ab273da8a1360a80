package users

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// burst is the time for which a rate that was not used is kept for later.
	burst = 50 * time.Millisecond
	// minPause is the shortest pause. What is shorter is part of the next one.
	minPause = time.Millisecond
	// maxPause is the longest pause, after which its rest is asked for: the rate may be
	// raised meanwhile.
	maxPause = 2 * time.Minute

	// firstBytes is how much a direction with a limit reads first: see package splice. A
	// connection that begins waits for as much while the others owe more than freeBytes
	// together, which is what those of an app owe that begin at the same time.
	firstBytes = 16 << 10
	freeBytes  = 8 * firstBytes
)

// rate is a rate in one direction that a user's connections share equally: fair
// queueing, as if each byte of each connection that waits were served in turn.
//
// Virtual time counts the bytes that each waiting connection has been served. It runs
// at the rate divided by their number. A connection that has moved n bytes pauses until
// virtual time has moved on by n from then, or from the end of its last pause, if that
// is later. So the pauses of all connections together are as long as the rate demands,
// however many there are, and a connection that needs less than its share does not wait
// for those that take all of theirs.
//
// A client could have any rate with new connections, each of which moves its first bytes
// and then waits, or has ended. So beside those that owe much, a connection waits for its
// first bytes before it moves them, and for a part of what others owed at their end.
//
// A rate stays the same one for all of its connections' lives, also while there is no
// limit: what they owe is in its virtual time.
type rate struct {
	unlimited atomic.Bool // limit is 0; to be read without mu

	mu      sync.Mutex
	limit   float64       // bytes a second; 0 means that nothing waits
	at      time.Duration // when virtual was set
	virtual float64
	credit  float64   // bytes that nothing waited for
	waiting []*waiter // by end
	left    waiter    // what connections that have ended did not wait for
}

// waiter is a connection's part of a rate.
type waiter struct {
	end     float64 // virtual time
	waiting bool
	begun   bool    // delay was called for it
	ahead   float64 // bytes that it has waited for, or does, and not moved
}

func newRate(limit int64, now time.Duration) *rate { return &rate{limit: float64(limit), at: now} }

// set changes the limit. 0 means none, and then nothing is owed any more.
func (r *rate) set(limit int64, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run(now)
	r.limit = float64(limit)
	r.unlimited.Store(limit == 0)
	if limit == 0 {
		r.forgive()
	}
}

// forgive moves virtual time on until nothing waits.
func (r *rate) forgive() {
	for _, w := range r.waiting {
		r.virtual = w.end
		w.waiting = false
	}
	clear(r.waiting)
	r.waiting, r.credit = r.waiting[:0], 0
}

// delay returns how long w pauses after n bytes. Before the first ones, and after a
// pause, it is called with 0.
func (r *rate) delay(w *waiter, n int, now time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit == 0 {
		return 0
	}
	r.run(now)
	if !w.begun {
		w.begun = true
		if n == 0 && r.owed() > freeBytes {
			w.ahead = firstBytes
			r.owe(w, firstBytes+r.inherit())
		}
	}
	ahead := min(w.ahead, float64(n))
	w.ahead -= ahead
	if bytes := float64(n) - ahead; bytes > 0 {
		r.owe(w, bytes)
		r.run(now) // for what is left of credit
	}
	if !w.waiting {
		return 0
	}
	bytes := 0.0
	for _, other := range r.waiting {
		bytes += min(other.end, w.end) - r.virtual
	}
	pause := time.Duration(min(bytes/r.limit, maxPause.Seconds()) * float64(time.Second))
	if pause < minPause {
		return 0
	}
	return pause
}

// owed returns how many bytes are waited for.
func (r *rate) owed() (bytes float64) {
	for _, w := range r.waiting {
		bytes += w.end - r.virtual
	}
	return bytes
}

// inherit returns a part of what connections that have ended owe: an eighth, or firstBytes.
// Another one waits for it. Otherwise each could leave as much as it has moved, which has one
// part of the rate however much it is.
func (r *rate) inherit() float64 {
	if !r.left.waiting {
		return 0
	}
	r.remove(&r.left)
	owes := r.left.end - r.virtual
	part := min(owes, max(firstBytes, owes/8))
	if owes > part {
		r.left.end = 0
		r.owe(&r.left, owes-part)
	}
	return part
}

// leave is called when a connection has ended.
func (r *rate) leave(w *waiter, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run(now); w.waiting {
		r.remove(w)
		if owes := w.end - r.virtual - w.ahead; owes > 0 {
			r.owe(&r.left, owes)
		}
	}
}

// run moves virtual time on until now.
func (r *rate) run(now time.Duration) {
	bytes := r.credit + r.limit*max(now-r.at, 0).Seconds()
	r.at = max(now, r.at)
	served := 0
	for _, w := range r.waiting {
		n := float64(len(r.waiting) - served)
		whole := (w.end - r.virtual) * n
		if whole > bytes {
			r.virtual += bytes / n
			bytes = 0
			break
		}
		bytes -= whole
		r.virtual = w.end
		w.waiting = false
		served++
	}
	r.waiting = slices.Delete(r.waiting, 0, served)
	r.credit = min(bytes, r.limit*burst.Seconds())
}

// owe makes w wait for n bytes more.
func (r *rate) owe(w *waiter, n float64) {
	if w.waiting {
		r.remove(w)
	}
	w.end, w.waiting = max(w.end, r.virtual)+n, true
	i, _ := slices.BinarySearchFunc(r.waiting, w, compareEnds)
	r.waiting = slices.Insert(r.waiting, i, w)
}

func (r *rate) remove(w *waiter) {
	i := slices.Index(r.waiting, w)
	r.waiting = slices.Delete(r.waiting, i, i+1)
	w.waiting = false
}

func compareEnds(a, b *waiter) int { return cmp.Compare(a.end, b.end) }
