package service

import (
	"errors"
	"net/netip"
	"sync"
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
// shared address do not use up one another's. Nil limits nothing.
type rateLimiter struct {
	rate, burst float64

	mu      sync.Mutex
	buckets recent.Map[netip.Prefix, rateBucket]
}

// rateBucket is how many tokens an address had at a time.
type rateBucket struct {
	tokens float64
	at     time.Time
}

// newRateLimiter returns a limiter of rate connections in a second, nil if rate is 0.
func newRateLimiter(rate float64) *rateLimiter {
	if rate == 0 {
		return nil
	}
	l := &rateLimiter{rate: rate, burst: max(rate*rateBurst.Seconds(), minBurst)}
	l.buckets.Capacity = rateAddresses
	return l
}

var errRate = errors.New("too many unauthenticated connections a second from the address")

// take takes a token of an address, or returns an error if it has none. An address that
// is not known has no limit.
func (l *rateLimiter) take(address netip.Addr) error {
	if l == nil || !address.IsValid() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	network := rateNetwork(address)
	bucket := l.filled(network)
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
	network := rateNetwork(address)
	bucket := l.filled(network)
	bucket.tokens = min(bucket.tokens+1, l.burst)
	l.buckets.Put(network, bucket)
}

// filled returns what an address has now. Under mu.
func (l *rateLimiter) filled(network netip.Prefix) rateBucket {
	now := time.Now()
	bucket, known := l.buckets.Get(network)
	if !known {
		return rateBucket{l.burst, now}
	}
	bucket.tokens = min(bucket.tokens+now.Sub(bucket.at).Seconds()*l.rate, l.burst)
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

// trace returns the hooks that give tokens back, nil for no limit.
func (l *rateLimiter) trace() *proxy.Trace {
	if l == nil {
		return nil
	}
	return &proxy.Trace{Authenticated: func(s proxy.Session) {
		if client, err := netip.ParseAddrPort(s.Report().Client); err == nil {
			l.giveBack(client.Addr())
		}
	}}
}
