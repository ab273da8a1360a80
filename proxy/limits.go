package proxy

import (
	"fmt"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
)

// Defaults of the limits for unauthenticated connections, where descriptors allow
// them. The rest of the descriptors, more than half of all, is for authenticated
// clients, of which each has two.
const (
	maxUnauthenticated = 16384
	maxFronted         = 4096

	// minLimit is the least that a limit derived from few descriptors is.
	minLimit = 16

	// admissionGrace is how long a client may take to authenticate without being
	// evicted in favour of newcomers, as long as there are older connections.
	admissionGrace = 2 * time.Second
)

// Limits are the limits for unauthenticated connections that are in force.
type Limits struct {
	// Unauthenticated is Config.MaxUnauthenticated, or its default.
	Unauthenticated int
	// PerAddress is Config.MaxUnauthenticatedPerAddress, or its default.
	PerAddress int
	// Fronted is Config.MaxFronted, or its default.
	Fronted int
	// Descriptors is how many descriptors the process may have. An unauthenticated
	// connection takes one, a fronted one another, and a client that is connected
	// to a data centre two.
	Descriptors int
}

// Limits returns the limits as they are now.
func (p *Proxy) Limits() Limits {
	s := p.settings()
	return Limits{s.MaxUnauthenticated, s.MaxUnauthenticatedPerAddress, s.MaxFronted, p.descriptors}
}

// Exceeded reports whether descriptors may run out before the limits are reached.
func (l Limits) Exceeded() bool { return l.Unauthenticated+l.Fronted > l.Descriptors }

// checkLimits returns an error for a limit that is negative.
func (c *Config) checkLimits() error {
	for name, negative := range map[string]bool{
		"MaxUnauthenticated":           c.MaxUnauthenticated < 0,
		"MaxUnauthenticatedPerAddress": c.MaxUnauthenticatedPerAddress < 0,
		"MaxFronted":                   c.MaxFronted < 0,
		"SearchProcessors":             c.SearchProcessors < 0,
		"DialTimeout":                  c.DialTimeout < 0,
	} {
		if negative {
			return fmt.Errorf("proxy: %s is negative", name)
		}
	}
	return nil
}

// defaultLimits fills in the limits that are 0. A fronted connection takes two
// descriptors, and an unauthenticated one the client's.
func (c *Config) defaultLimits(files int) {
	if c.MaxUnauthenticated == 0 {
		c.MaxUnauthenticated = max(minLimit, min(maxUnauthenticated, files/4))
	}
	if c.MaxUnauthenticatedPerAddress == 0 {
		c.MaxUnauthenticatedPerAddress = shares(c.MaxUnauthenticated)[admission.Address]
	}
	c.MaxUnauthenticatedPerAddress = min(c.MaxUnauthenticatedPerAddress, c.MaxUnauthenticated)
	if c.MaxFronted == 0 {
		c.MaxFronted = max(minLimit, min(maxFronted, files/8, c.MaxUnauthenticated))
	}
}

// shares returns a limit in total with the shares of a site and of an address.
// Thousands of telephones may share an IPv4 address, and each opens a few
// connections ahead of need.
func shares(total int) admission.Limits {
	return admission.Limits{
		admission.Address: max(1, total/2),
		admission.Site:    max(1, total/4*3),
		admission.Total:   total,
	}
}

// maxHosted returns the limits of fronting.Pool. They leave room for the connections to
// fronting hosts of clients that were evicted this moment: those for which they made room need
// hosts already.
func maxHosted(fronted int) int { return 2 * fronted }

// setClass changes what is known of an unauthenticated connection.
func (s *session) setClass(class admission.Class) {
	s.class.Store(uint32(class))
	s.proxy.pending.Move(&s.pending, class)
	s.proxy.fronted.Move(&s.fronted, class)
}

// enterFronted counts the session's connection to a fronting host.
func (s *session) enterFronted() {
	s.proxy.fronted.Enter(&s.fronted, s, s.clientAddr(), admission.Class(s.class.Load()))
	s.proxy.fronted.Move(&s.fronted, admission.Class(s.class.Load())) // it may have changed meanwhile
}

// visitorInterval is how often a visitor of the site that moves bytes is noted.
const visitorInterval = int64(admissionGrace / 40)

// visitorMoved is called when bytes of a visitor have moved: it is among the last to
// make room for others.
func (s *session) visitorMoved() {
	now := s.now()
	if last := s.last.Load(); now-last < visitorInterval && last != 0 {
		return
	}
	s.last.Store(now)
	s.proxy.pending.Touch(&s.pending)
	s.proxy.fronted.Touch(&s.fronted)
}

// pendingShares returns the limits of unauthenticated connections: those of shares, but
// for the share of an address.
func (c *Config) pendingShares() admission.Limits {
	limits := shares(c.MaxUnauthenticated)
	limits[admission.Address] = c.MaxUnauthenticatedPerAddress
	limits[admission.Site] = max(limits[admission.Site], limits[admission.Address])
	return limits
}

// Evict ends an unauthenticated session that makes room for another one.
func (s *session) Evict(reason *admission.EvictedError) { s.evict(reason) }

func (s *session) evict(reason error) {
	s.proxy.counters.evicted.Add(1)
	s.Close(reason)
	s.proxy.trace.evicted(s, reason)
}

// HasUnread reports whether bytes of the client are not read yet.
func (s *session) HasUnread() bool { return unreadBytes(s.socket) }
