// Package admission has limits that leave room for every network. A Table bounds
// how many unauthenticated connections there are, and a Memory how many bytes
// connections hold: in total, per site (IPv4 /24, IPv6 /48) and per address (IPv4,
// IPv6 /64). At a limit a newcomer is admitted and another connection evicted, so
// that neither a crowd of idle connections nor an attacker keeps clients out. So it
// is when there is no descriptor for another one: see Shortage.
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
	// Partial: the client has sent a part of a handshake. A real client sends the
	// rest within moments.
	Partial
	// Complete: the client has sent all that decides whether it has a secret, and
	// the key search or the fronting host is to answer. Real clients and visitors
	// of the site have come so far within moments.
	Complete
	// Answered: a fronting host has answered the client, as it answers any
	// visitor.
	Answered
	// HelloAnswered: the client has shown a secret in its FakeTLS hello, and has
	// the proxy's answer. Its init payload is due.
	HelloAnswered

	classes = 5
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

// NoAddress stands for the address of peers that have none, such as those of a Unix socket, where
// all of them share the limit of one. No peer is in its network: the unspecified
// address of IPv6 is in that of ::1.
var NoAddress = netip.IPv4Unspecified()

// Error returns the limit, and the site whose limit it is or, if it is that of an address, the
// site that the address is in: the text is in logs, which are not to have clients' addresses.
func (e *EvictedError) Error() string {
	switch site := Network(Site, e.Network.Addr()); {
	case e.Scope == Total || !e.Network.IsValid():
		return fmt.Sprintf("%v: limit of %d in total", ErrEvicted, e.Limit)
	case e.Network.Addr() == NoAddress:
		return fmt.Sprintf("%v: limit of %d for peers without an address", ErrEvicted, e.Limit)
	case e.Scope == Address:
		return fmt.Sprintf("%v: limit of %d for an address of %v", ErrEvicted, e.Limit, site)
	default:
		return fmt.Sprintf("%v: limit of %d for site %v", ErrEvicted, e.Limit, site)
	}
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
	since            time.Time // when it got its class, or was touched
	groups           [scopes]*group
	links            [scopes]link
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

// evictedAtOnce is how many members SetLimits evicts before it lets others enter.
const evictedAtOnce = 256

// SetLimits replaces the limits, and evicts members until all groups are within them:
// first of the addresses, then of the sites, then of all, and in each by the order in
// which members make room for others.
func (t *Table) SetLimits(limits Limits) {
	t.mu.Lock()
	t.limits = limits
	t.mu.Unlock()
	for {
		evicted := t.evictExcess(evictedAtOnce)
		for _, e := range evicted {
			e.connection.Evict(e.reason)
		}
		if len(evicted) < evictedAtOnce {
			return
		}
	}
}

// evictExcess removes up to n members of groups that are beyond their limits.
func (t *Table) evictExcess(n int) (evicted []eviction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	shrink := func(scope Scope, g *group) {
		for g.count > t.limits[scope] && len(evicted) < n {
			e := t.evict(scope, g)
			if e.connection == nil {
				return
			}
			evicted = append(evicted, e)
		}
	}
	for scope := range Total {
		for _, g := range t.networks[scope] {
			shrink(scope, g)
		}
	}
	shrink(Total, &t.all)
	return evicted
}

// Len returns how many members there are.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.count
}

// Enter adds m, the membership of a connection from that address, which is invalid
// if it is not known, and evicts others to make room. It does nothing if m is
// present already or was evicted.
func (t *Table) Enter(m *Member, connection Evictable, from netip.Addr, class Class) {
	for _, evicted := range t.enter(m, connection, from, class, true) {
		evicted.connection.Evict(evicted.reason)
	}
}

// TryEnter is Enter if no limit is reached, so that none is evicted. It reports whether m
// is present.
func (t *Table) TryEnter(m *Member, connection Evictable, from netip.Addr, class Class) bool {
	t.enter(m, connection, from, class, false)
	t.mu.Lock()
	defer t.mu.Unlock()
	return m.present
}

type eviction struct {
	connection Evictable // nil: none
	reason     *EvictedError
}

// enter is Enter, and does nothing at a limit if it may not evict. The connections that it
// returns are to be evicted.
func (t *Table) enter(
	m *Member, connection Evictable, from netip.Addr, class Class, mayEvict bool,
) (evicted []eviction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.present || m.evicted {
		return nil
	}
	var groups [scopes]*group
	groups[Total] = &t.all
	groups[Site] = t.group(Site, from, &t.all)
	groups[Address] = t.group(Address, from, groups[Site])
	for scope, g := range groups {
		if g == nil || g.count < t.limits[scope] {
			continue
		}
		if !mayEvict {
			return nil
		}
		if e := t.evict(Scope(scope), g); e.connection != nil {
			evicted = append(evicted, e)
		}
	}
	// Groups that were emptied by an eviction are taken up again.
	for scope := range Total {
		if g := groups[scope]; g != nil {
			t.networks[scope][g.network] = g
		}
	}
	m.groups = groups
	m.connection, m.present, m.class, m.since = connection, true, class, t.now()
	m.push()
	for _, g := range m.groups {
		g.resize(1)
	}
	return evicted
}

// evict removes a member of g, whose limit is reached, and returns it; none if g is
// empty. Under mu.
func (t *Table) evict(scope Scope, g *group) eviction {
	m := t.pick(g)
	if m == nil {
		return eviction{}
	}
	t.remove(m)
	m.evicted = true
	return eviction{m.connection, &EvictedError{Scope: scope, Limit: t.limits[scope], Network: g.network}}
}

// pick returns the member of g to evict, in this order; at each step the oldest of a
// class, which is the one that has made no progress for longest. Under mu.
//
//  1. Those of the payer beyond their grace: a part of a handshake, silence, bytes that
//     are unanswered, an answered hello, and a visitor that has moved nothing. If the
//     payer has none, those of its site and then of g: a network whose clients are
//     about to be served does not pay for others' idle connections, unless it floods.
//  2. Those of the payer that are slower than a client that is about to be served:
//     silence, and a part of a handshake.
//  3. Those that have come as far as others are about to, if they are more than half of
//     the payer's: a part of a handshake, a visitor, an answered hello, and bytes that
//     are unanswered for as long as in 2.
//  4. Any of the payer's, of the class that has come least far.
func (t *Table) pick(g *group) *Member {
	payer, looks := g.payer(), 0
	now := t.now()
	for from := payer; ; from = from.parent {
		looks += t.passUnread(from, maxLooks-looks)
		if m := from.oldest(now.Add(-t.grace), Partial, Silent, Complete, HelloAnswered, Answered); m != nil {
			return m
		}
		if from == g || floodPart*from.count > g.count {
			break
		}
	}
	slow := now.Add(-t.grace / slowPart)
	if m := payer.oldest(slow, Silent, Partial); m != nil {
		return m
	}
	if m := payer.majority(Partial, Answered, HelloAnswered); m != nil {
		return m
	}
	if m := payer.majority(Complete); m != nil && !m.since.After(slow) {
		return m
	}
	return payer.oldest(now, Silent, Partial, Complete, Answered, HelloAnswered)
}

// slowPart is the part of the grace within which a client that is about to be served
// takes its next step: a quarter of a second of two seconds.
const slowPart = 8

// floodPart is the part of all members beyond which a network floods: it pays, however
// young its members are, so that a crowd of newcomers does not displace connections
// that others have opened ahead of need.
const floodPart = 4

// maxLooks is how many silent connections are asked for unread bytes before one is
// evicted. Each takes a system call under mu, for which everything else that enters,
// moves or leaves waits, also the one goroutine that has all sockets' events. What is
// passed over is silent no more, so the next eviction looks at others.
const maxLooks = 16

// passUnread moves the oldest silent members of g to Complete if their clients have
// sent something that was not read yet, and is taken for a whole hello until it is:
// when the processor is busy, connections are accepted faster than they are read. It
// looks at no more than that many, and returns at how many. Under mu.
func (t *Table) passUnread(g *group, most int) (looks int) {
	for m := g.lists[Silent].first; m != nil && looks < most; m = g.lists[Silent].first {
		if looks++; !m.connection.HasUnread() {
			break
		}
		t.move(m, Complete)
	}
	return looks
}

// EvictOldest evicts up to n members, for instance because there are no
// descriptors, and returns how many it evicted.
func (t *Table) EvictOldest(n int) int {
	for i := range n {
		t.mu.Lock()
		e := t.evict(Total, &t.all)
		t.mu.Unlock()
		if e.connection == nil {
			return i
		}
		e.connection.Evict(e.reason)
	}
	return n
}

// Move changes the class of m, if it is present.
func (t *Table) Move(m *Member, class Class) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.present && m.class != class {
		t.move(m, class)
	}
}

// Touch makes m, if it is present, as young as one that has just got its class: bytes
// have moved.
func (t *Table) Touch(m *Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.present {
		t.move(m, m.class)
	}
}

// move is Move for a member that is present. Under mu.
func (t *Table) move(m *Member, class Class) {
	m.pull()
	m.class, m.since = class, t.now()
	m.push()
}

// Leave removes m, if it is present.
func (t *Table) Leave(m *Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.present {
		t.remove(m)
	}
}

// group returns the group of an address in a scope, which is part of parent; nil for
// none. Under mu.
func (t *Table) group(scope Scope, from netip.Addr, parent *group) *group {
	network := Network(scope, from)
	if !network.IsValid() {
		return nil
	}
	g := t.networks[scope][network]
	if g == nil {
		g = &group{network: network, parent: parent}
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
	m.pull()
	for scope, g := range m.groups {
		if g.resize(-1); g != nil && g.count == 0 && Scope(scope) < Total {
			delete(t.networks[scope], g.network)
		}
	}
	m.present, m.groups = false, [scopes]*group{}
}
