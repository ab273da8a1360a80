package admission

import (
	"net/netip"
	"time"
)

// group is the members of one scope's network, or all.
type group struct {
	network netip.Prefix
	lists   [classes]list
	count   int

	parent   *group  // an address's site, a site's all; nil for all
	networks ranking // the networks within this one that have members
	ranked   struct{ previous, next *group }
}

// list is the members of one class in one group.
type list struct {
	first, last *Member
	count       int
}

// link chains the members of one class in one group, the oldest first.
type link struct{ previous, next *Member }

// ranking is groups by their number of members.
type ranking struct {
	first  []*group // of those with that many members; the last is not nil
	groups int
}

// payer returns the group in which a connection makes room when the limit of g is
// reached: the network within g that has the most connections, if these are more than
// twice as many as the others have on average, and g otherwise. So a network that
// takes more than others does it at its own cost, and among equals the connections
// decide.
func (g *group) payer() *group {
	for {
		others := g.networks.groups - 1
		if others < 0 {
			return g
		}
		heaviest := g.networks.first[len(g.networks.first)-1]
		if others > 0 && heaviest.count*others <= 2*(g.count-heaviest.count) {
			return g
		}
		g = heaviest
	}
}

// oldest returns the oldest member of the first of these classes that has one from
// before that time, nil if none has.
func (g *group) oldest(before time.Time, order ...Class) *Member {
	for _, class := range order {
		if m := g.lists[class].first; m != nil && !m.since.After(before) {
			return m
		}
	}
	return nil
}

// majority returns the oldest member of the one of these classes that has more than
// half of all members, nil if none has.
func (g *group) majority(of ...Class) *Member {
	for _, class := range of {
		if l := g.lists[class]; 2*l.count > g.count {
			return l.first
		}
	}
	return nil
}

// resize changes the count of g by one, up or down. A nil group has none.
func (g *group) resize(by int) {
	if g == nil {
		return
	}
	if g.parent != nil {
		g.parent.networks.move(g, g.count+by)
	}
	g.count += by
}

// move changes the number of members by which g is ranked, of which it had g.count.
func (r *ranking) move(g *group, count int) {
	if g.count > 0 {
		if r.first[g.count] == g {
			r.first[g.count] = g.ranked.next
		} else {
			g.ranked.previous.ranked.next = g.ranked.next
		}
		if next := g.ranked.next; next != nil {
			next.ranked.previous = g.ranked.previous
		}
		g.ranked.previous, g.ranked.next = nil, nil
		r.groups--
	}
	if count > 0 {
		for len(r.first) <= count {
			r.first = append(r.first, nil)
		}
		if g.ranked.next = r.first[count]; g.ranked.next != nil {
			g.ranked.next.ranked.previous = g
		}
		r.first[count] = g
		r.groups++
	}
	for n := len(r.first); n > 0 && r.first[n-1] == nil; n-- {
		r.first = r.first[:n-1]
	}
}

// push adds m to the lists of its class as the youngest, and pull removes it. Under
// Table.mu.
func (m *Member) push() {
	for scope, g := range m.groups {
		if g == nil {
			continue
		}
		l := &g.lists[m.class]
		m.links[scope] = link{previous: l.last}
		if l.last == nil {
			l.first = m
		} else {
			l.last.links[scope].next = m
		}
		l.last = m
		l.count++
	}
}

func (m *Member) pull() {
	for scope, g := range m.groups {
		if g == nil {
			continue
		}
		l, at := &g.lists[m.class], m.links[scope]
		if at.previous == nil {
			l.first = at.next
		} else {
			at.previous.links[scope].next = at.next
		}
		if at.next == nil {
			l.last = at.previous
		} else {
			at.next.links[scope].previous = at.previous
		}
		m.links[scope] = link{}
		l.count--
	}
}
