// Package resolve is a DNS cache for a server that dials the same few host names
// again and again. One lookup serves many dials, an entry in use is refreshed in
// the background, and while the resolver fails, the last addresses stay in use
// (serve-stale).
//
//	resolve.go        the cache, and its lookups
//	happyeyeballs.go  one connection to a host with several addresses
package resolve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// The times of an entry. Package net does not tell the TTL of a DNS record.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8767#section-5
const (
	// refreshAge is the age from which on an entry is refreshed in the background
	// when it is used.
	refreshAge = time.Minute
	// staleAge is the age from which on a dial waits for the refresh, since the
	// entry was not in use: its host may have moved. After a failed lookup no dial
	// waits.
	staleAge = 10 * time.Minute
	// staleDelay limits that wait, in the RFC's words the client response timer.
	staleDelay = 1800 * time.Millisecond
	// retryInterval is the least time from a failed lookup of a host to the next.
	// Until then the host's dials fail, unless there are addresses of before. A
	// lookup that has failed for want of a descriptor, or the like, does not count.
	retryInterval = 5 * time.Second
	// lookupTimeout limits one lookup.
	lookupTimeout = 10 * time.Second
	// warnInterval is the least time between two warnings about one host.
	warnInterval = time.Minute

	// maxHosts and maxAddresses bound the memory of a cache. At the limit, the host
	// that was not used for longest is removed.
	maxHosts     = 256
	maxAddresses = 8
)

// DialFunc opens a connection, as net.Dialer.DialContext.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Config configures a Cache. The zero value is good.
type Config struct {
	// Lookup returns the addresses of a host, the best first. Nil means that of
	// net.DefaultResolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	// Warn is called when a lookup has failed and the addresses of an earlier one
	// stay in use, once a minute for each host; unlogged is how many lookups have
	// failed since the last call without one. It must not block. Nil means that
	// there is no warning.
	Warn func(host string, err error, unlogged int)
}

// Cache is a DNS cache. Its methods may be called concurrently. A nil Cache caches
// nothing.
type Cache struct {
	config  Config
	ctx     context.Context // of lookups; ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // lookups

	mu     sync.Mutex
	hosts  map[string]*host
	closed bool
}

// host is the entry of a host name. Cache.mu protects it.
type host struct {
	name      string
	addresses []netip.Addr // of the last lookup that did not fail; immutable
	preferred netip.Addr   // the address that connected when the first one did not
	resolved  time.Time    // time of that lookup
	used      time.Time
	err       error // of the last lookup
	failed    time.Time
	warned    time.Time
	unlogged  int     // failures since then
	running   *lookup // nil if none
}

// lookup is a lookup that runs, or has ended.
type lookup struct {
	done      chan struct{}
	addresses []netip.Addr // set before done is closed, as is err
	err       error
}

// New returns an empty cache. Close ends its lookups.
func New(config Config) *Cache {
	if config.Lookup == nil {
		config.Lookup = lookupIP
	}
	if config.Warn == nil {
		config.Warn = func(string, error, int) {}
	}
	c := &Cache{config: config, hosts: make(map[string]*host)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func lookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// Close ends the lookups that run, and returns when they have ended. Hosts keep
// their addresses; lookups fail from then on.
func (c *Cache) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
}

// Lookup returns the addresses of a host, the one to try first in front. Concurrent
// calls share one lookup, which goes on when ctx of one of them ends. The error is
// that of the last lookup, if no lookup has ever succeeded, or ctx's.
//
// Any failure keeps the addresses of before, also the answer that there is no such
// host: networks forge that answer.
func (c *Cache) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	c.mu.Lock()
	h := c.use(strings.ToLower(name))
	age := h.used.Sub(h.resolved)
	if len(h.addresses) > 0 && age < refreshAge {
		defer c.mu.Unlock()
		return h.ordered(), nil
	}
	running := c.refresh(h)
	known, err := h.ordered(), h.err
	c.mu.Unlock()

	switch {
	case len(known) > 0 && (running == nil || age < staleAge || err != nil):
		return known, nil
	case running == nil:
		return nil, err
	}
	var stale <-chan time.Time
	if len(known) > 0 {
		timer := time.NewTimer(staleDelay)
		defer timer.Stop()
		stale = timer.C
	}
	select {
	case <-running.done:
		if running.err == nil || len(known) == 0 {
			return running.addresses, running.err
		}
	case <-stale:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return known, nil
}

// use returns the entry of a host, made if it is missing. Under mu.
func (c *Cache) use(name string) *host {
	h := c.hosts[name]
	if h == nil {
		if len(c.hosts) >= maxHosts {
			c.removeOldest()
		}
		h = &host{name: name}
		c.hosts[name] = h
	}
	h.used = time.Now()
	return h
}

// removeOldest removes the host that was not used for longest. Under mu.
func (c *Cache) removeOldest() {
	var oldest *host
	for _, h := range c.hosts {
		if oldest == nil || h.used.Before(oldest.used) {
			oldest = h
		}
	}
	delete(c.hosts, oldest.name)
}

// refresh returns the lookup of h that runs, started if need be. It returns nil
// within retryInterval after a failure. Under mu.
func (c *Cache) refresh(h *host) *lookup {
	if h.running != nil {
		return h.running
	}
	if h.err != nil && time.Since(h.failed) < retryInterval && !netx.IsLocal(h.err) {
		return nil
	}
	l := &lookup{done: make(chan struct{})}
	if c.closed {
		l.err = net.ErrClosed
		close(l.done)
		return l
	}
	h.running = l
	c.running.Go(func() {
		defer close(l.done)
		ctx, cancel := context.WithTimeout(c.ctx, lookupTimeout)
		defer cancel()
		addresses, err := c.config.Lookup(ctx, h.name)
		l.addresses, l.err = c.store(h, addresses, err)
	})
	return l
}

// store notes the result of a lookup of h, and returns what its callers get.
func (c *Cache) store(h *host, addresses []netip.Addr, err error) ([]netip.Addr, error) {
	addresses = order(addresses)
	if err == nil && len(addresses) == 0 {
		err = errors.New("the host has no address")
	}
	c.mu.Lock()
	h.running = nil
	if h.err = err; err == nil {
		h.addresses, h.resolved = addresses, time.Now()
		addresses = h.ordered()
		c.mu.Unlock()
		return addresses, nil
	}
	h.failed = time.Now()
	stale := len(h.addresses) > 0 && c.ctx.Err() == nil
	warn, unlogged := stale && h.failed.Sub(h.warned) >= warnInterval, h.unlogged
	switch {
	case warn:
		h.warned, h.unlogged = h.failed, 0
	case stale:
		h.unlogged++
	}
	c.mu.Unlock()
	if warn {
		c.config.Warn(h.name, err, unlogged)
	}
	return nil, err
}

// connected notes the address of a host that connected, if it was not the first
// one: it is the first from now on.
func (c *Cache) connected(name string, address netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[strings.ToLower(name)]; h != nil {
		h.preferred = address
	}
}

// unreachable notes that no address of a host connected: it may have moved.
func (c *Cache) unreachable(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[strings.ToLower(name)]; h != nil && time.Since(h.resolved) >= retryInterval {
		c.refresh(h)
	}
}
