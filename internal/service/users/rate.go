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
// A connection that ends before virtual time has moved on so far stays in the queue, and
// the next one that begins takes its place there, and waits: otherwise a client could have
// any rate with one connection after the other. So as many wait as there were connections
// at once, and no more.
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
}

// waiter is a connection's part of a rate.
type waiter struct {
	end     float64 // virtual time
	waiting bool
	begun   bool // delay was called for it
	left    bool // its connection has ended
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
		r.begin(w)
	}
	if n > 0 {
		r.owe(w, float64(n))
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

// begin puts w, which is new, in the place of the first one whose connection has ended.
func (r *rate) begin(w *waiter) {
	w.begun = true
	i := slices.IndexFunc(r.waiting, func(w *waiter) bool { return w.left })
	if i >= 0 {
		w.end, w.waiting = r.waiting[i].end, true
		r.waiting[i] = w
	}
}

// leave is called when a connection has ended. What it owes is not forgotten.
func (r *rate) leave(w *waiter, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run(now); w.waiting {
		// Not w, which is a part of the connection's account.
		r.waiting[slices.Index(r.waiting, w)] = &waiter{end: w.end, waiting: true, left: true}
		w.waiting = false
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
