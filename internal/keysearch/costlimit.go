package keysearch

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/recent"
)

// The rate limit of failed searches. The unit of cost is one key tried on an
// init payload, which takes about 0.1 µs: see the benchmarks of packages
// obfuscation and faketls.
const (
	// helloBytesPerUnit is how many bytes of a FakeTLS hello take as long as
	// an init payload, for each key.
	helloBytesPerUnit = 256

	// totalRate is the cost per second that all failed searches together may
	// have: a quarter to a half of a processor. totalBurst is the cost that
	// they may have at once: four seconds' worth.
	totalRate  = 4_000_000
	totalBurst = 4 * totalRate

	// networkRate and networkBurst are the share of one network.
	networkRate  = totalRate / 16
	networkBurst = totalBurst / 16

	// networkCapacity is how many networks one generation of the limiter's
	// table has; there are two. A network that is dropped starts with an empty
	// bucket.
	networkCapacity = 1 << 14
)

// cost returns what it costs to try that many keys.
func cost(q Query, keys int) int {
	if !q.FakeTLS {
		return keys
	}
	return keys * (1 + q.Length/helloBytesPerUnit)
}

// costLimiter bounds the CPU spent on failed key searches, with a leaky bucket
// per network and one in total. While one of them is full, full searches are
// skipped; clients found by address or SNI are still served. Successful searches
// cost nothing, so after a restart the limiter does not delay clients that have
// a secret.
type costLimiter struct {
	now func() time.Time // nil means time.Now

	mu       sync.Mutex
	total    bucket
	networks recent.Map[netip.Addr, bucket]
}

func newCostLimiter() costLimiter {
	return costLimiter{networks: recent.Map[netip.Addr, bucket]{Capacity: networkCapacity}}
}

// bucket is a leaky bucket: cost that time has not paid off yet. Its zero value
// is empty.
type bucket struct {
	level float64 // at time at, in units of cost
	at    time.Time
}

// levelAt returns the level at time now of a bucket that leaks rate a second.
func (b bucket) levelAt(now time.Time, rate float64) float64 {
	return max(0, b.level-rate*now.Sub(b.at).Seconds())
}

// allows reports whether a full search for a client at address from may start.
func (l *costLimiter) allows(from netip.Addr) bool {
	from = Network(from)
	now := l.time()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total.levelAt(now, totalRate) >= totalBurst {
		return false
	}
	// Clients of a Unix socket have no address, and are no network.
	return !from.IsValid() || l.of(from).levelAt(now, networkRate) < networkBurst
}

// charge adds the cost of a failed search to both buckets.
func (l *costLimiter) charge(from netip.Addr, cost int) {
	from = Network(from)
	now := l.time()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total = bucket{l.total.levelAt(now, totalRate) + float64(cost), now}
	l.networks.Put(from, bucket{l.of(from).levelAt(now, networkRate) + float64(cost), now})
}

func (l *costLimiter) of(network netip.Addr) bucket {
	b, _ := l.networks.Get(network)
	return b
}

func (l *costLimiter) time() time.Time {
	if l.now != nil {
		return l.now()
	}
	return time.Now()
}
