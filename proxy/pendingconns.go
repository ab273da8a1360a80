package proxy

import (
	"container/list"
	"errors"
	"net/netip"
	"sync"

	"github.com/mtwire/mtwire/internal/keysearch"
)

const (
	// pendingPerNetwork is how many unauthenticated connections one network may
	// have: half of all. Thousands of telephones may share an IPv4 address, and
	// each opens a few connections ahead of need.
	pendingPerNetwork = 8192

	// pendingTotal is how many unauthenticated connections there may be.
	pendingTotal = 16384
)

var errTooManyPending = errors.New("too many unauthenticated connections")

// pendingConns tracks connections that are not authenticated yet. At the limit it
// evicts the oldest one that has sent nothing or, if all have sent something, the
// one that sent first: a real client authenticates within moments of its first
// byte.
type pendingConns struct {
	perNetwork, total int // limits; 0 means pendingPerNetwork and pendingTotal

	mu       sync.Mutex
	networks map[netip.Addr]*pendingGroup // none is empty
	all      pendingGroup
}

// pendingGroup is the connections of one network, or all: *session, the oldest
// first.
type pendingGroup struct {
	silent, sent list.List
}

func (g *pendingGroup) len() int { return g.silent.Len() + g.sent.Len() }

// pendingEntry is a session's entry in pendingConns.
type pendingEntry struct {
	present, evicted, firstByte bool
	network                     netip.Addr // invalid if it is not known
	inNetwork, inAll            *list.Element
}

// clientActivity is whether a client has sent something.
type clientActivity bool

const (
	silent   clientActivity = false
	hasBytes clientActivity = true
)

// enter adds s, and ends the connections evicted to make room.
func (c *pendingConns) enter(s *session, activity clientActivity) {
	for _, evicted := range c.add(s, activity) {
		evicted.Close(errTooManyPending)
	}
}

// add inserts s and returns the connections evicted to make room.
func (c *pendingConns) add(s *session, activity clientActivity) (evicted []*session) {
	perNetwork, total := c.perNetwork, c.total
	if perNetwork == 0 {
		perNetwork, total = pendingPerNetwork, pendingTotal
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.pending.present || s.pending.evicted {
		return nil
	}
	network := keysearch.Network(s.clientAddr())
	if g := c.networks[network]; g != nil && network.IsValid() && g.len() >= perNetwork {
		evicted = append(evicted, c.evict(g))
	}
	if c.all.len() >= total {
		evicted = append(evicted, c.evict(&c.all))
	}
	if c.networks[network] == nil {
		if c.networks == nil {
			c.networks = make(map[netip.Addr]*pendingGroup)
		}
		c.networks[network] = new(pendingGroup)
	}
	s.pending = pendingEntry{present: true, firstByte: bool(activity), network: network}
	c.push(s)
	return evicted
}

// evict removes and returns the oldest entry of g, which must not be empty.
func (c *pendingConns) evict(g *pendingGroup) *session {
	oldest := g.silent.Front()
	if oldest == nil {
		oldest = g.sent.Front()
	}
	s := oldest.Value.(*session)
	c.remove(s)
	s.pending.evicted = true
	return s
}

// push adds s to its lists as the youngest, and pull removes it from them. Under
// mu.
func (c *pendingConns) push(s *session) {
	network, all := c.lists(s)
	s.pending.inNetwork, s.pending.inAll = network.PushBack(s), all.PushBack(s)
}

func (c *pendingConns) pull(s *session) {
	network, all := c.lists(s)
	network.Remove(s.pending.inNetwork)
	all.Remove(s.pending.inAll)
}

func (c *pendingConns) lists(s *session) (network, all *list.List) {
	g := c.networks[s.pending.network]
	if s.pending.firstByte {
		return &g.sent, &c.all.sent
	}
	return &g.silent, &c.all.silent
}

// firstByte notes that s has sent something.
func (c *pendingConns) firstByte(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.pending.present && !s.pending.firstByte {
		c.pull(s)
		s.pending.firstByte = true
		c.push(s)
	}
}

// leave removes a session that is authenticated or has ended.
func (c *pendingConns) leave(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(s)
}

// remove removes s, if it is present. Under mu.
func (c *pendingConns) remove(s *session) {
	if !s.pending.present {
		return
	}
	c.pull(s)
	if g := c.networks[s.pending.network]; g.len() == 0 {
		delete(c.networks, s.pending.network)
	}
	s.pending = pendingEntry{}
}
