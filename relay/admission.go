package relay

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
)

const (
	// maxUnauthenticated is the default limit of unauthenticated clients where
	// descriptors allow it, and minUnauthenticated that where there are few.
	maxUnauthenticated = 16384
	minUnauthenticated = 16

	// admissionGrace is how long a client may take for a step without being evicted in
	// favour of newcomers, as long as there are older connections.
	admissionGrace = 2 * time.Second

	// noteInterval is how often packets that move are noted.
	noteInterval = int64(admissionGrace / 40)

	// maxMemory bounds the packets of all clients that are on their way, in bytes, and
	// freePacket is how many a client has that do not count.
	maxMemory  = 128 << 20
	freePacket = maxAhead
)

// defaultLimits fills in the limits that are 0. A client takes two descriptors.
func (c *Config) defaultLimits() {
	if c.MaxUnauthenticated == 0 {
		c.MaxUnauthenticated = max(minUnauthenticated, min(maxUnauthenticated, netx.MaxDescriptors()/4))
	}
	if c.MaxUnauthenticatedPerAddress == 0 {
		c.MaxUnauthenticatedPerAddress = max(1, c.MaxUnauthenticated/2)
	}
	c.MaxUnauthenticatedPerAddress = min(c.MaxUnauthenticatedPerAddress, c.MaxUnauthenticated)
	if c.MaxMemory == 0 {
		c.MaxMemory = maxMemory
	}
}

// Limits are the limits for clients that have shown no secret.
type Limits struct {
	// Unauthenticated is Config.MaxUnauthenticated, or its default.
	Unauthenticated int
	// PerAddress is Config.MaxUnauthenticatedPerAddress, or its default.
	PerAddress int
	// Descriptors is how many descriptors the process may have.
	Descriptors int
}

// Limits returns the limits that are in force.
func (r *Relay) Limits() Limits {
	return Limits{r.config.MaxUnauthenticated, r.config.MaxUnauthenticatedPerAddress, netx.MaxDescriptors()}
}

// limits are those of unauthenticated clients, with the shares of a site and an address.
func (c *Config) limits() admission.Limits {
	return admission.Limits{
		admission.Address: c.MaxUnauthenticatedPerAddress,
		admission.Site:    max(1, c.MaxUnauthenticated/4*3, c.MaxUnauthenticatedPerAddress),
		admission.Total:   c.MaxUnauthenticated,
	}
}

// headerLimits are those of connections whose PROXY protocol header is awaited: a quarter, since
// a header is due within a round trip, with a share for each load balancer.
func (c *Config) headerLimits() admission.Limits {
	total := max(minUnauthenticated, c.MaxUnauthenticated/4)
	return admission.Limits{admission.Address: total / 2, admission.Site: total / 4 * 3, admission.Total: total}
}

// Evict ends the connection of an unauthenticated client, which makes room for another.
func (s *session) Evict(reason *admission.EvictedError) {
	s.cancel(reason)
	s.relay.noteEviction(reason)
}

// noteEviction counts an eviction, and writes a record from time to time.
func (r *Relay) noteEviction(reason error) {
	r.evicted.Add(1)
	if r.evictionWarnings.due() {
		r.config.Log.Warn("connections make room for others", "err", reason, "evicted", r.evicted.Load())
	}
}

// warnNotAccepted writes a record from time to time.
func (r *Relay) warnNotAccepted(listener net.Addr, err error) {
	if netx.IsTemporary(err) && r.acceptWarnings.due() {
		r.config.Log.Warn("clients have to wait: no connection can be accepted", "listener", listener.String(), "err", err)
	}
}

// HasUnread returns false: what a client has sent is read at once.
func (s *session) HasUnread() bool { return false }

// answered notes that a server has answered the client.
func (r *Relay) answered(s *session) { r.pending.Move(&s.member, admission.Answered) }

// touch notes that packets move, so that the client is among the last to make room.
func (r *Relay) touch(s *session) {
	now := int64(time.Since(s.start))
	if last := s.moved.Load(); now-last >= noteInterval && s.moved.CompareAndSwap(last, now) {
		r.pending.Touch(&s.member)
	}
}

// addressOf returns the IP address of a peer, or an invalid one.
func addressOf(address net.Addr) netip.Addr {
	if a, ok := address.(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	if address == nil {
		return netip.Addr{}
	}
	ip, _ := netip.ParseAddrPort(address.String())
	return ip.Addr()
}

// held is what a session holds of the memory for packets that are on their way, in both
// directions.
type held struct {
	of    *admission.Memory
	from  netip.Addr
	evict func()

	mu      sync.Mutex
	size    int
	charged int
	holding *admission.Holding // nil until there is more than what is free
}

// charge changes the size. It returns false if the session has made room for others.
func (h *held) charge(by int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.size += by
	size := h.size
	if size <= freePacket {
		size = 0
	}
	if size == h.charged {
		return true
	}
	h.charged = size
	if h.holding == nil {
		h.holding = h.of.NewHolding(h.from, h.evict)
	}
	return h.holding.Resize(size) || by <= 0
}

func (h *held) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holding != nil {
		h.holding.Close()
	}
}
