package relay

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
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

	// evictionLogInterval is the time between two records of evictions.
	evictionLogInterval = time.Minute

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
	now := time.Now()
	r.mu.Lock()
	logs := now.Sub(r.logged) >= evictionLogInterval || r.logged.IsZero()
	if logs {
		r.logged = now
	}
	r.mu.Unlock()
	if logs {
		r.config.Log.Warn("connections make room for others", "err", reason, "evicted", r.evicted.Load())
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

// evictedAtShortage is how many unauthenticated clients make room when there is no
// descriptor for a connection to a server.
const evictedAtShortage = 16

// minShortagePause is the first pause of a session that waits for a descriptor. Each is
// twice as long as the one before, up to maxShortagePause: 1.3 seconds together.
const (
	minShortagePause = 5 * time.Millisecond
	maxShortagePause = 640 * time.Millisecond
)

// dialInShortage calls dial, and again while there is no descriptor: at once when others
// have made room, and then after pauses, since it takes them a moment. One session waits at a
// time: if all waited, each with the descriptor of its client, none would get another one.
func (r *Relay) dialInShortage(ctx context.Context, dial func() (*mtwire.Conn, error)) (*mtwire.Conn, error) {
	server, err := dial()
	if isShortage(err) && r.makeRoom() {
		server, err = dial()
	}
	if !isShortage(err) || !r.shortage.TryLock() {
		return server, err
	}
	defer r.shortage.Unlock()
	for pause := minShortagePause; isShortage(err) && pause <= maxShortagePause; pause *= 2 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
		server, err = dial()
	}
	return server, err
}

// makeRoom evicts unauthenticated clients, and connections whose header is awaited if these are
// too few. It reports whether there were any.
func (r *Relay) makeRoom() bool {
	evicted := r.pending.EvictOldest(evictedAtShortage)
	return evicted+r.headers.EvictOldest(evictedAtShortage-evicted) > 0
}

// isShortage reports whether err means that there is no descriptor.
func isShortage(err error) bool { return err != nil && netx.IsErrno(err, netx.EMFILE, netx.ENFILE) }

// isLocal reports whether a connection has failed for want of something on this machine,
// which is no server's fault.
func isLocal(err error) bool {
	return netx.IsErrno(err, netx.EMFILE, netx.ENFILE, netx.ENOBUFS, netx.ENOMEM, netx.EADDRNOTAVAIL)
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
