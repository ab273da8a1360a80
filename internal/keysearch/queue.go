package keysearch

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// queueLength is how many searches there are at most. A fast processor does
	// about as many in defaultMaxWait.
	queueLength = 1024

	// defaultMaxWait is how long a search waits for its start.
	defaultMaxWait = 2 * time.Second
)

// queue is a fair queue of searches: a semaphore with as many slots as there are
// processors, which a search holds for one slice of its keys at a time. A slot
// goes to the search whose network has the least debt, the cost of that search
// included, and among equal ones to the oldest. So the first search of a network
// interrupts a long search of a network in debt.
type queue struct {
	maxWait time.Duration

	mu     sync.Mutex
	limits costLimiter
	speeds [2]speed // for init payloads, for hellos
	jobs   []*job   // the oldest first
	free   int      // slots
	wake   *time.Timer
}

func newQueue(config Config) *queue {
	q := &queue{
		maxWait: config.MaxWait,
		limits:  newCostLimiter(config.Processors),
		speeds:  newSpeeds(),
		free:    runtime.GOMAXPROCS(0),
	}
	if q.maxWait <= 0 {
		q.maxWait = defaultMaxWait
	}
	return q
}

// job is a search in the queue.
type job struct {
	speed         *speed
	perKey        int // work
	network, site *account
	since         time.Time
	state         jobState
	decided       chan struct{} // has room for one; receives at the end of waiting

	// work is that of the whole search. The network and the site pay its
	// estimated cost ahead when the search starts; until then it is queued for
	// them. The bucket pays for each slice, spent so far.
	work                int
	queued, paid, spent time.Duration
	started             time.Time // zero before that
}

type jobState uint8

const (
	idle    jobState = iota
	waiting          // for a slot
	running          // has a slot
	evicted          // from the queue
)

// setProcessors changes the rate at which failed searches are paid for.
func (q *queue) setProcessors(processors float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits.setRate(processors, time.Now())
	q.dispatch()
}

// enter adds a search. It is evicted at once if it is not likely to start in time.
// If the queue is full, a search of the network with the most debt is evicted,
// the cost of its searches in the queue included; that may be the new one.
func (q *queue) enter(from netip.Addr, query Query, keys int) *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	j := &job{speed: &q.speeds[0], perKey: query.work(1), since: now, state: waiting, decided: make(chan struct{}, 1)}
	if query.FakeTLS {
		j.speed = &q.speeds[1]
	}
	j.work = keys * j.perKey
	j.queued = j.speed.cost(j.work)
	j.network, j.site = q.limits.accounts(from)
	for _, a := range [...]*account{j.network, j.site} {
		a.queued += j.queued
		a.charge(0, now)
	}
	q.jobs = append(q.jobs, j)
	if q.isHopeless(j, now) {
		q.evict(j, now)
	} else if len(q.jobs) > queueLength {
		q.evict(q.worst(now), now)
	}
	return j
}

// isHopeless reports whether j would wait for more than half of maxWait, if the
// searches that come before it fail as those before them did.
func (q *queue) isHopeless(j *job, now time.Time) bool {
	debt := j.debt(now)
	if !q.limits.isSpent(debt, now) {
		return false
	}
	var before time.Duration
	for _, other := range q.jobs {
		if other != j && other.debt(now) <= debt {
			before += max(0, other.speed.cost(other.work)-other.spent)
		}
	}
	return before > time.Duration(q.limits.rate*float64(q.maxWait)/2)
}

// worst returns the search to evict from a full queue, in which at least the new
// one waits.
func (q *queue) worst(now time.Time) *job {
	var worst *job
	var most time.Duration
	for _, j := range q.jobs {
		if j.state != waiting {
			continue
		}
		if d := j.debt(now) + j.network.queued + j.site.queued/siteShare; worst == nil || d >= most {
			worst, most = j, d
		}
	}
	return worst
}

// evict removes j, which waits.
func (q *queue) evict(j *job, now time.Time) {
	q.remove(j, now)
	j.state = evicted
	j.decided <- struct{}{}
}

// debt returns the debt of j's network, and its part of the site's, with j.
func (j *job) debt(now time.Time) time.Duration {
	d := j.network.debtAt(now) + j.site.debtAt(now)/siteShare
	if j.started.IsZero() {
		d += j.speed.cost(j.work)
	}
	return d
}

// acquire waits for a slot for the next slice of j, and returns how many of the
// keys that are left are in it. It returns 0 and Canceled if ctx has ended before;
// 0 and NotSearched if j was evicted, or has waited for too long. The caller calls
// release or leave afterwards.
func (q *queue) acquire(ctx context.Context, j *job, left int) (keys int, outcome Outcome) {
	if ctx.Err() != nil {
		return 0, Canceled
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.state == idle {
		j.state = waiting
		select { // the end of the last wait, if acquire did not wait then
		case <-j.decided:
		default:
		}
	}
	if j.state == waiting {
		q.dispatch()
	}
	if j.state == waiting {
		until := j.since.Add(q.maxWait)
		if !j.started.IsZero() { // not to waste what was spent
			until = j.started.Add(q.maxWait)
		}
		q.mu.Unlock()
		outcome = j.wait(ctx, until)
		q.mu.Lock()
	}
	if j.state == running {
		return j.speed.slice(left, j.perKey), Found
	}
	return 0, outcome
}

// wait waits until j has a slot or was evicted, and returns why it ends otherwise.
func (j *job) wait(ctx context.Context, until time.Time) Outcome {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-j.decided:
	case <-timer.C:
	case <-ctx.Done():
		return Canceled
	}
	return NotSearched
}

// dispatch gives free slots to the searches that come first, as far as the bucket
// allows it. Under mu.
func (q *queue) dispatch() {
	now := time.Now()
	for q.free > 0 {
		var first *job
		var least time.Duration
		for _, j := range q.jobs {
			if j.state != waiting {
				continue
			}
			if d := j.debt(now); first == nil || d < least {
				first, least = j, d
			}
		}
		if first == nil {
			return
		}
		if delay := q.limits.delay(least, now); delay > 0 {
			q.wakeAfter(delay)
			return
		}
		q.free--
		first.start(now)
		first.state = running
		first.decided <- struct{}{}
	}
}

// start charges the whole search ahead, unless that is done.
func (j *job) start(now time.Time) {
	if !j.started.IsZero() {
		return
	}
	j.started, j.paid = now, j.speed.cost(j.work)
	for _, a := range [...]*account{j.network, j.site} {
		a.queued -= j.queued
		a.charge(j.paid, now)
	}
}

// wakeAfter calls dispatch after that time. Under mu.
func (q *queue) wakeAfter(delay time.Duration) {
	if q.wake != nil {
		q.wake.Reset(delay)
		return
	}
	q.wake = time.AfterFunc(delay, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.dispatch()
	})
}

// release gives j's slot back after a slice of that many keys without a match,
// which took that long.
func (q *queue) release(j *job, keys int, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	j.state = idle
	q.free++
	j.speed.measure(keys*j.perKey, took)
	cost := j.speed.cost(keys * j.perKey)
	j.spent += cost
	q.limits.charge(cost, now)
}

// leave ends j, with or without a slot. A search that has found its key costs
// nothing; another one what it took. refused means that it has met a key that was
// refused.
func (q *queue) leave(j *job, outcome Outcome, refused bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if j.state == running {
		q.free++
	}
	switch {
	case outcome == Found:
		q.limits.charge(-j.spent, now)
		j.spent = 0
	case refused:
		q.limits.refuse(j.spent, now)
	}
	if j.state != evicted {
		q.remove(j, now)
		j.state = evicted
	}
	q.dispatch()
}

// remove takes j out of the queue, and replaces what its network and site have
// paid ahead with what was spent. Under mu.
func (q *queue) remove(j *job, now time.Time) {
	i := slices.Index(q.jobs, j)
	q.jobs = slices.Delete(q.jobs, i, i+1)
	for _, a := range [...]*account{j.network, j.site} {
		if j.started.IsZero() {
			a.queued -= j.queued
		} else {
			a.charge(j.spent-decayed(j.paid, now.Sub(j.started)), now)
		}
	}
}
