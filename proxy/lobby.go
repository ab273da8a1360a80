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
// next.
type lobby struct {
	here, all int // how many there may be; 0 means lobbyHere and lobbyAll

	mu       sync.Mutex
	groups   map[netip.Addr]*group // none is empty
	everyone group
}

// group are those of one network, or of all.
type group struct {
	count  int
	silent list.List // *session, the oldest first
}

// guest is a session's place in the lobby.
type guest struct {
	in               bool
	network          netip.Addr    // not valid if it is not known
	inGroup, overall *list.Element // nil once it has spoken
}

// enter takes s in. It says false if there is no room, and none to be made.
func (c *lobby) enter(s *session, silent bool) bool {
	left, ok := c.admit(s, silent)
	for _, silent := range left {
		silent.abort(errFull)
	}
	return ok
}

// admit is enter, with those that have left for s.
func (c *lobby) admit(s *session, silent bool) (left []*session, ok bool) {
	here, all := c.here, c.all
	if here == 0 {
		here, all = lobbyHere, lobbyAll
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.guest.in {
		return nil, true
	}
	network := network(s.from())
	if g := c.groups[network]; g != nil && network.IsValid() && g.count >= here {
		if left = c.oust(left, &g.silent); left == nil {
			return nil, false
		}
	}
	if c.everyone.count >= all {
		before := len(left)
		if left = c.oust(left, &c.everyone.silent); len(left) == before {
			return left, false
		}
	}
	g := c.groups[network]
	if g == nil {
		g = new(group)
		if c.groups == nil {
			c.groups = make(map[netip.Addr]*group)
		}
		c.groups[network] = g
	}
	g.count++
	c.everyone.count++
	s.guest = guest{in: true, network: network}
	if silent {
		s.guest.inGroup, s.guest.overall = g.silent.PushBack(s), c.everyone.silent.PushBack(s)
	}
	return left, true
}

// oust takes the oldest out. Under mu.
func (c *lobby) oust(left []*session, silent *list.List) []*session {
	oldest := silent.Front()
	if oldest == nil {
		return left
	}
	s := oldest.Value.(*session)
	c.remove(s)
	return append(left, s)
}

// spoke notes that s is silent no more, and cannot be asked to make room.
func (c *lobby) spoke(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hush(s)
}

func (c *lobby) hush(s *session) {
	if s.guest.inGroup == nil {
		return
	}
	c.groups[s.guest.network].silent.Remove(s.guest.inGroup)
	c.everyone.silent.Remove(s.guest.overall)
	s.guest.inGroup, s.guest.overall = nil, nil
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
	c.hush(s)
	s.guest.in = false
	c.everyone.count--
	if g := c.groups[s.guest.network]; g.count > 1 {
		g.count--
	} else {
		delete(c.groups, s.guest.network)
	}
}
