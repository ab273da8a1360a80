package service

import (
	"errors"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/recent"
	"github.com/mtwire/mtwire/proxy"
)

const (
	// rateBurst is how long an address may have been silent for what it saves, and
	// minBurst the least that it saves: clients open several connections at once.
	rateBurst = 10 * time.Second
	minBurst  = 10
	// rateAddresses limits the addresses whose rates are known, in each of the two
	// generations of a recent.Map. One that is forgotten begins anew.
	rateAddresses = 16 << 10
)

// rateLimiter limits the rate of unauthenticated connections by address. A connection
// takes a token, and gives it back if its client is authenticated: so clients behind a
// shared address do not use up one another's. The zero value limits nothing, at hardly any
// cost.
type rateLimiter struct {
	limit atomic.Pointer[rateLimit] // nil for none

	mu      sync.Mutex
	buckets recent.Map[netip.Prefix, rateBucket]
}

// rateLimit is how many tokens an address gets in a second, and how many it saves.
type rateLimit struct{ rate, burst float64 }

// rateBucket is how many tokens an address had at a time.
type rateBucket struct {
	tokens float64
	at     time.Time
}

// set makes the limit rate connections in a second, none if rate is 0. Addresses keep the
// tokens that they have, as far as they may save as many.
func (l *rateLimiter) set(rate float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets.Capacity = rateAddresses
	if rate == 0 {
		l.limit.Store(nil)
		return
	}
	l.limit.Store(&rateLimit{rate: rate, burst: max(rate*rateBurst.Seconds(), minBurst)})
}

// rate returns the limit in connections a second, 0 for none.
func (l *rateLimiter) rate() float64 {
	if limit := l.limit.Load(); limit != nil {
		return limit.rate
	}
	return 0
}

var errRate = errors.New("too many unauthenticated connections a second from the address")

// take takes a token of an address, or returns an error if it has none. An address that
// is not known has no limit.
func (l *rateLimiter) take(address netip.Addr) error {
	if l.limit.Load() == nil || !address.IsValid() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.limit.Load()
	if limit == nil {
		return nil
	}
	network := rateNetwork(address)
	bucket := l.filled(network, limit)
	if bucket.tokens < 1 {
		return errRate
	}
	bucket.tokens--
	l.buckets.Put(network, bucket)
	return nil
}

// giveBack gives a token back.
func (l *rateLimiter) giveBack(address netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.limit.Load()
	if limit == nil {
		return
	}
	network := rateNetwork(address)
	bucket := l.filled(network, limit)
	bucket.tokens = min(bucket.tokens+1, limit.burst)
	l.buckets.Put(network, bucket)
}

// filled returns what an address has now. Under mu.
func (l *rateLimiter) filled(network netip.Prefix, limit *rateLimit) rateBucket {
	now := time.Now()
	bucket, known := l.buckets.Get(network)
	if !known {
		return rateBucket{limit.burst, now}
	}
	bucket.tokens = min(bucket.tokens+now.Sub(bucket.at).Seconds()*limit.rate, limit.burst)
	bucket.at = now
	return bucket
}

// rateNetwork returns the network that has one limit: an IPv4 address, or an IPv6
// network of 64 bits.
func rateNetwork(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := 64
	if address.Is4() {
		bits = 32
	}
	network, _ := address.Prefix(bits)
	return network
}

// trace returns the hooks that give tokens back.
func (l *rateLimiter) trace() *proxy.Trace {
	return &proxy.Trace{Authenticated: func(s proxy.Session) {
		if l.limit.Load() == nil {
			return
		}
		if client, err := netip.ParseAddrPort(s.Report().Client); err == nil {
			l.giveBack(client.Addr())
		}
	}}
}

// rateFinding is how many tokens an address has. As JSON it is part of the format of an
// upgrade.
type rateFinding struct {
	Network netip.Prefix `json:"network"`
	Tokens  float64      `json:"tokens"`
}

// findings returns the addresses that have fewer tokens than they may save.
func (l *rateLimiter) findings() iter.Seq[rateFinding] {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.limit.Load()
	if limit == nil {
		return slices.Values[[]rateFinding](nil)
	}
	var all []rateFinding
	for network := range l.buckets.All() {
		if bucket := l.filled(network, limit); bucket.tokens < limit.burst {
			all = append(all, rateFinding{network, bucket.tokens})
		}
	}
	return slices.Values(all)
}

// add makes an address have no more tokens than in the process before.
func (l *rateLimiter) add(f rateFinding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.limit.Load()
	if limit == nil || !f.Network.IsValid() || f.Network != f.Network.Masked() || !(f.Tokens >= 0) {
		return
	}
	bucket := l.filled(f.Network, limit)
	bucket.tokens = min(bucket.tokens, f.Tokens)
	l.buckets.Put(f.Network, bucket)
}
