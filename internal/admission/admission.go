// Package admission has limits that leave room for every network. A Table bounds
// how many unauthenticated connections there are, and a Memory how many bytes
// connections hold: in total, per site (IPv4 /24, IPv6 /48) and per address (IPv4,
// IPv6 /64). At a limit a newcomer is admitted and another connection evicted, so
// that neither a crowd of idle connections nor an attacker keeps clients out.
package admission

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Class is what is known of an unauthenticated connection. It decides which one
// is evicted.
type Class uint8

const (
	// Silent: the client has sent nothing. Clients open connections ahead of
	// need.
	Silent Class = iota
	// Unanswered: the client has sent something, and neither authenticated nor
	// been answered by a fronting host. A real client authenticates within
	// moments of its first byte.
	Unanswered
	// Answered: a fronting host has answered the client, as it answers any
	// visitor.
	Answered
	// HelloAnswered: the client has shown a secret in its FakeTLS hello, and has
	// the proxy's answer. Its init payload is due.
	HelloAnswered

	classes = 4
)

// Scope is what a limit is for.
type Scope uint8

// The scopes.
const (
	Address Scope = iota
	Site
	Total

	scopes = 3
)

// String returns "address", "site" or "total".
func (s Scope) String() string { return [scopes]string{"address", "site", "total"}[s] }

// Limits are how many connections there may be in each scope. They are at least
// 1.
type Limits [scopes]int

// EvictedError is why a connection was evicted.
type EvictedError struct {
	Scope Scope
	Limit int
	// Network is the site or address whose limit it is; invalid for Total, and
	// if the client's address is not known.
	Network netip.Prefix
}

// ErrEvicted is what every EvictedError is.
var ErrEvicted = errors.New("too many unauthenticated connections")

func (e *EvictedError) Error() string {
	if e.Scope == Total || !e.Network.IsValid() {
		return fmt.Sprintf("%v: limit of %d in total", ErrEvicted, e.Limit)
	}
	return fmt.Sprintf("%v: limit of %d for %s %v", ErrEvicted, e.Limit, e.Scope, e.Network)
}

// Is reports that every EvictedError is ErrEvicted.
func (e *EvictedError) Is(target error) bool { return target == ErrEvicted }

// Evictable is a connection that can be evicted.
type Evictable interface {
	// Evict closes the connection. The goroutine of another connection calls it,
	// so it must not block.
	Evict(reason *EvictedError)

	// HasUnread reports whether bytes of the client have arrived that were not
	// read yet. It must not block.
	HasUnread() bool
}

// Member is a connection's membership of a Table. The zero value is none. It must
// not be copied once it has entered.
type Member struct {
	connection Evictable

	present, evicted bool
	class            Class
	since            time.Time // when it got its class
	groups           [scopes]*group
	links            [scopes]link
}

// link chains the members of one class in one group, the oldest first.
type link struct{ previous, next *Member }

// list is the members of one class in one group.
type list struct{ first, last *Member }

// group is the members of one scope's network, or all.
type group struct {
	network netip.Prefix
	lists   [classes]list
	count   int
}

// Table is a set of connections with limits. Its methods may be called
// concurrently. New makes it.
type Table struct {
	grace time.Duration
	now   func() time.Time

	mu       sync.Mutex
	limits   Limits
	networks [Total]map[netip.Prefix]*group // addresses and sites; none is empty
	all      group
}

// New returns an empty table. grace is how long a connection is in its class
// before it is evicted in favour of a newcomer, unless there are only younger
// ones: a client that authenticates within that time is not evicted by an
// attacker on the same address.
func New(limits Limits, grace time.Duration) *Table {
	t := &Table{grace: grace, now: time.Now, limits: limits}
	for i := range t.networks {
		t.networks[i] = make(map[netip.Prefix]*group)
	}
	return t
}

// SetLimits changes the limits. Connections beyond them are evicted as others
// enter.
func (t *Table) SetLimits(limits Limits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limits = limits
}

// Len returns how many members there are.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.count
}

// Count returns how many members of a class there are.
func (t *Table) Count(class Class) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for m := t.all.lists[class].first; m != nil; m = m.links[Total].next {
		n++
	}
	return n
}

// Enter adds m, the membership of a connection from that address, which is invalid
// if it is not known, and evicts others to make room. It does nothing if m is
// present already or was evicted.
func (t *Table) Enter(m *Member, connection Evictable, from netip.Addr, class Class) {
	for _, evicted := range t.enter(m, connection, from, class) {
		evicted.connection.Evict(evicted.reason)
	}
}

type eviction struct {
	connection Evictable // nil: none
	reason     *EvictedError
}

func (t *Table) enter(m *Member, connection Evictable, from netip.Addr, class Class) (evicted []eviction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.present || m.evicted {
		return nil
	}
	for scope := range Total {
		m.groups[scope] = t.group(scope, from)
	}
	m.groups[Total] = &t.all
	for scope, g := range m.groups {
		scope := Scope(scope)
		if g == nil || g.count < t.limits[scope] {
			continue
		}
		if scope == Total {
			g = t.payer(m)
		}
		if e := t.evict(g, scope, m.groups[scope]); e.connection != nil {
			evicted = append(evicted, e)
		}
	}
	// Groups that were emptied by an eviction are taken up again.
	for scope := range Total {
		if g := m.groups[scope]; g != nil {
			t.networks[scope][g.network] = g
		}
	}
	m.connection, m.present, m.class, m.since = connection, true, class, t.now()
	t.push(m)
	return evicted
}

// payer returns the group in which a connection makes room for m when the total
// is reached: m's own site if it has more than an equal share of the total, and
// else all.
func (t *Table) payer(m *Member) *group {
	site := m.groups[Site]
	if site != nil && site.count*max(1, len(t.networks[Site])) > t.limits[Total] {
		return site
	}
	return &t.all
}

// evict removes a member of g and returns it; none if g is empty. limited is the
// group whose limit is reached.
func (t *Table) evict(g *group, scope Scope, limited *group) eviction {
	m := t.pick(g)
	if m == nil {
		return eviction{}
	}
	t.remove(m)
	m.evicted = true
	return eviction{m.connection, &EvictedError{Scope: scope, Limit: t.limits[scope], Network: limited.network}}
}

// pick returns the member of g to evict: the one that has been unanswered for
// longest since its first byte, then the one that has been silent for longest, then
// the one whose hello was answered first, then the one that a host answered first.
// Those within grace are evicted only if there are no others, and one whose hello was
// answered last of all. Under mu.
func (t *Table) pick(g *group) *Member {
	t.passUnread(g)
	aged := t.now().Add(-t.grace)
	for _, class := range [...]Class{Unanswered, Silent, HelloAnswered, Answered} {
		if m := g.lists[class].first; m != nil && !m.since.After(aged) {
			return m
		}
	}
	for _, class := range [...]Class{Silent, Unanswered, Answered, HelloAnswered} {
		if m := g.lists[class].first; m != nil {
			return m
		}
	}
	return nil
}

// passUnread moves the oldest silent members of g to Unanswered if their clients
// have sent something that was not read yet: when the processor is busy, connections
// are accepted faster than they are read. Under mu.
func (t *Table) passUnread(g *group) {
	for m := g.lists[Silent].first; m != nil && m.connection.HasUnread(); m = g.lists[Silent].first {
		t.move(m, Unanswered)
	}
}

// EvictOldest evicts up to n members, for instance because there are no
// descriptors, and returns how many it evicted.
func (t *Table) EvictOldest(n int) int {
	var evicted []eviction
	t.mu.Lock()
	for range n {
		e := t.evict(&t.all, Total, &t.all)
		if e.connection == nil {
			break
		}
		evicted = append(evicted, e)
	}
	t.mu.Unlock()
	for _, e := range evicted {
		e.connection.Evict(e.reason)
	}
	return len(evicted)
}

// Move changes the class of m, if it is present.
func (t *Table) Move(m *Member, class Class) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.present && m.class != class {
		t.move(m, class)
	}
}

// move is Move for a member that is present. Under mu.
func (t *Table) move(m *Member, class Class) {
	t.pull(m)
	m.class, m.since = class, t.now()
	t.push(m)
}

// Leave removes m, if it is present.
func (t *Table) Leave(m *Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.present {
		t.remove(m)
	}
}

// group returns the group of an address in a scope, nil for none. Under mu.
func (t *Table) group(scope Scope, from netip.Addr) *group {
	network := Network(scope, from)
	if !network.IsValid() {
		return nil
	}
	g := t.networks[scope][network]
	if g == nil {
		g = &group{network: network}
	}
	return g
}

// Network returns the network of an address in a scope. It is invalid for an
// invalid address and for Total.
func Network(scope Scope, addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || scope >= Total {
		return netip.Prefix{}
	}
	bits := [Total]int{Address: 64, Site: 48}
	if addr.Is4() {
		bits = [Total]int{Address: 32, Site: 24}
	}
	network, _ := addr.Prefix(bits[scope]) // it is long enough
	return network
}

// remove takes m out of its lists and drops groups that are empty. Under mu.
func (t *Table) remove(m *Member) {
	t.pull(m)
	for scope := range Total {
		if g := m.groups[scope]; g != nil && g.count == 0 {
			delete(t.networks[scope], g.network)
		}
	}
	m.present, m.groups = false, [scopes]*group{}
}

// push adds m to the lists of its class as the youngest, and pull removes it.
// Under mu.
func (t *Table) push(m *Member) {
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
		g.count++
	}
}

func (t *Table) pull(m *Member) {
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
		g.count--
	}
}
