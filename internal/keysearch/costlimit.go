package keysearch

import (
	"math"
	"net/netip"
	"runtime"
	"time"

	"github.com/mtwire/mtwire/internal/recent"
)

// The rate limit of failed searches, in processor time: a leaky bucket in total, one
// for the searches of refused clients, and a debt for each network and site, which
// decides what is searched for first.
const (
	// burstTime is how long the bucket takes to leak when it is full.
	burstTime = 4 * time.Second

	// networkShare is the part of the bucket that one network may fill and still
	// have the whole bucket to itself: see costLimiter.limit.
	networkShare = 16

	// halfLife is how long a debt takes to halve. It is longer than clients need
	// to try again, and shorter than the lease of an address.
	halfLife = 30 * time.Second

	// siteShare is the part of a site's debt that each of its networks has as
	// well. An attacker changes the network within an IPv6 site at no cost, but
	// the subscribers of an access provider share a site too.
	siteShare = 8

	// accountCapacity is how many networks, and how many sites, one generation of
	// the table has; there are two. A network that is dropped starts without debt.
	accountCapacity = 1 << 14
)

// costLimiter bounds the processor time of failed searches. Successful ones cost
// nothing, so after a restart it does not delay clients that have a secret. It is
// not safe for concurrent use.
type costLimiter struct {
	rate            float64 // processors
	total, refused  bucket  // refused is of searches that met a key that was refused
	networks, sites recent.Map[netip.Addr, *account]
}

func newCostLimiter(processors float64) costLimiter {
	return costLimiter{
		rate:     rateOf(processors),
		networks: recent.Map[netip.Addr, *account]{Capacity: accountCapacity},
		sites:    recent.Map[netip.Addr, *account]{Capacity: accountCapacity},
	}
}

// rateOf returns Config.Processors, or its default.
func rateOf(processors float64) float64 {
	if processors <= 0 {
		return max(0.5, float64(runtime.GOMAXPROCS(0))/8)
	}
	return processors
}

// setRate changes the rate. What the buckets have is worth as many seconds afterwards
// as before, so that nothing waits for longer than burstTime.
func (l *costLimiter) setRate(processors float64, now time.Time) {
	rate := rateOf(processors)
	for _, b := range [...]*bucket{&l.total, &l.refused} {
		*b = bucket{time.Duration(float64(b.levelAt(now, l.rate)) / l.rate * rate), now}
	}
	l.rate = rate
}

// burst is the size of the bucket.
func (l *costLimiter) burst() time.Duration {
	return time.Duration(l.rate * float64(burstTime))
}

// charge adds cost to the bucket, or takes it back if it is negative.
func (l *costLimiter) charge(cost time.Duration, now time.Time) {
	l.total = bucket{max(0, l.total.levelAt(now, l.rate)+cost), now}
}

// refuse moves cost, which charge has added, to the bucket of refused searches as far
// as that has room. The clients of a popular user that is disabled try again and again,
// and must not use up what there is for clients that are new. But a secret that is
// refused may be an attacker's too: so what is beyond the second bucket stays in the
// first, and both together bound the processor time. The first bucket alone decides
// when searches wait, so that the time of a refused one does not tell that its secret
// exists.
func (l *costLimiter) refuse(cost time.Duration, now time.Time) {
	level := l.refused.levelAt(now, l.rate)
	moved := max(0, min(cost, l.burst()-level))
	l.refused = bucket{level + moved, now}
	l.charge(-moved, now)
}

// limit returns the level up to which the bucket is for searches of a client whose
// network has that debt, the search included. The second half of the bucket is
// for networks with little debt, so that their first searches do not wait while
// an attacker's have filled the first half.
func (l *costLimiter) limit(debt time.Duration) time.Duration {
	if limit := l.burst(); debt <= limit/networkShare {
		return limit
	}
	return l.burst() / 2
}

// delay returns how long the bucket allows no search with that debt.
func (l *costLimiter) delay(debt time.Duration, now time.Time) time.Duration {
	over := l.total.levelAt(now, l.rate) - l.limit(debt)
	if over < 0 {
		return 0
	}
	return time.Duration(float64(over)/l.rate) + time.Nanosecond
}

// isSpent reports whether the bucket is almost at its limit for that debt, as it
// is while more fails than there is time for.
func (l *costLimiter) isSpent(debt time.Duration, now time.Time) bool {
	return l.total.levelAt(now, l.rate) > l.limit(debt)*3/4
}

// accounts returns the accounts of a client's network and site. A client without
// an address, that of a Unix socket, has accounts of its own.
func (l *costLimiter) accounts(from netip.Addr) (network, site *account) {
	if !from.IsValid() {
		return new(account), new(account)
	}
	return accountOf(&l.networks, networkOf(from)), accountOf(&l.sites, siteOf(from))
}

func accountOf(table *recent.Map[netip.Addr, *account], key netip.Addr) *account {
	a, ok := table.Get(key)
	if !ok {
		a = new(account)
	}
	table.Put(key, a)
	return a
}

// bucket is a leaky bucket of processor time. Its zero value is empty.
type bucket struct {
	level time.Duration // at time at
	at    time.Time
}

// levelAt returns the level at time now of a bucket that leaks at that rate.
func (b bucket) levelAt(now time.Time, rate float64) time.Duration {
	leaked := rate * float64(now.Sub(b.at)) // may be more than a Duration can be: at may be zero
	if leaked >= float64(b.level) {
		return 0
	}
	return b.level - time.Duration(leaked)
}

// account is what the searches of one network or site cost lately. Its zero value
// is without debt.
type account struct {
	debt time.Duration // at time at
	at   time.Time

	// queued is the estimated cost of its searches that wait for their start.
	queued time.Duration
}

// debtAt returns the debt at time now.
func (a *account) debtAt(now time.Time) time.Duration {
	if a.debt == 0 {
		return 0
	}
	return decayed(a.debt, now.Sub(a.at))
}

// charge adds cost to the debt, or takes it back if it is negative.
func (a *account) charge(cost time.Duration, now time.Time) {
	a.debt, a.at = max(0, a.debtAt(now)+cost), now
}

// decayed returns what is left of a debt after that time.
func decayed(debt, after time.Duration) time.Duration {
	x := -math.Ln2 / float64(halfLife) * float64(after)
	if x < -0.1 {
		return time.Duration(float64(debt) * math.Exp(x))
	}
	// The queue compares debts of the last seconds, many at a time, for which the
	// series of the exponential is several times as fast and exact to 0.001 %.
	return time.Duration(float64(debt) * (1 + x*(1+x*(1./2+x/6))))
}
