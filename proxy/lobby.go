package proxy

import (
	"container/list"
	"errors"
	"net/netip"
	"sync"
)

const (
	// lobbyHere is how many connections one network may have that have not
	// shown a secret: half of all. Thousands of telephones may share an
	// address of IPv4, and each opens a few connections ahead of its need.
	lobbyHere = 8192

	// lobbyAll is how many there may be in all.
	lobbyAll = 16384
)

var errFull = errors.New("there are too many connections that have not shown a secret")

// lobby has the connections that have not shown a secret. When there are too
// many, the one that has been silent for the longest time makes room for the
// next, or if none is silent, the one that spoke first: who knows a secret has
// shown it a moment after the first byte, so that is a stranger.
type lobby struct {
	here, all int // how many there may be; 0 means lobbyHere and lobbyAll

	mu       sync.Mutex
	groups   map[netip.Addr]*group // none is empty
	everyone group
}

// group are those of one network, or of all: *session, the oldest first.
type group struct {
	silent, spoken list.List
}

func (g *group) count() int { return g.silent.Len() + g.spoken.Len() }

// guest is a session's place in the lobby.
type guest struct {
	in, out, spoke   bool       // out: it made room, and is about to end
	network          netip.Addr // not valid if it is not known
	inGroup, overall *list.Element
}

// enter takes s in.
func (c *lobby) enter(s *session, silent bool) {
	for _, left := range c.admit(s, silent) {
		left.abort(errFull)
	}
}

// admit is enter, with those that have left for s.
func (c *lobby) admit(s *session, silent bool) (left []*session) {
	here, all := c.here, c.all
	if here == 0 {
		here, all = lobbyHere, lobbyAll
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.guest.in || s.guest.out {
		return nil
	}
	network := network(s.from())
	if g := c.groups[network]; g != nil && network.IsValid() && g.count() >= here {
		left = append(left, c.oust(g))
	}
	if c.everyone.count() >= all {
		left = append(left, c.oust(&c.everyone))
	}
	if c.groups[network] == nil {
		if c.groups == nil {
			c.groups = make(map[netip.Addr]*group)
		}
		c.groups[network] = new(group)
	}
	s.guest = guest{in: true, spoke: !silent, network: network}
	c.push(s)
	return left
}

// oust takes one out of those in g, of whom there is one.
func (c *lobby) oust(g *group) *session {
	oldest := g.silent.Front()
	if oldest == nil {
		oldest = g.spoken.Front()
	}
	s := oldest.Value.(*session)
	c.remove(s)
	s.guest.out = true
	return s
}

// push lists s as the youngest, and pull takes it off the lists. Under mu.
func (c *lobby) push(s *session) {
	own, all := c.lists(s)
	s.guest.inGroup, s.guest.overall = own.PushBack(s), all.PushBack(s)
}

func (c *lobby) pull(s *session) {
	own, all := c.lists(s)
	own.Remove(s.guest.inGroup)
	all.Remove(s.guest.overall)
}

func (c *lobby) lists(s *session) (own, all *list.List) {
	g := c.groups[s.guest.network]
	if s.guest.spoke {
		return &g.spoken, &c.everyone.spoken
	}
	return &g.silent, &c.everyone.silent
}

// spoke notes that s is silent no more.
func (c *lobby) spoke(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.guest.in && !s.guest.spoke {
		c.pull(s)
		s.guest.spoke = true
		c.push(s)
	}
}

// leave is for whoever has shown a secret, or is gone.
func (c *lobby) leave(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(s)
}

// remove takes s out, if it is in. Under mu.
func (c *lobby) remove(s *session) {
	if !s.guest.in {
		return
	}
	c.pull(s)
	if g := c.groups[s.guest.network]; g.count() == 0 {
		delete(c.groups, s.guest.network)
	}
	s.guest = guest{}
}
