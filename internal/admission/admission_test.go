package admission

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// testTable is a table with a clock that the test sets, and a name for each
// member.
type testTable struct {
	*Table
	clock   time.Time
	members map[string]*Member
	gone    []string // evicted, in order
	reasons map[string]*EvictedError
}

func newTestTable(limits Limits) *testTable {
	t := &testTable{
		Table: New(limits, 2*time.Second), clock: time.Unix(1e9, 0),
		members: map[string]*Member{}, reasons: map[string]*EvictedError{},
	}
	t.now = func() time.Time { return t.clock }
	return t
}

// connection is an Evictable.
type connection struct {
	evict  func(*EvictedError)
	unread bool
	looks  int // calls of HasUnread
}

func (c *connection) Evict(reason *EvictedError) { c.evict(reason) }

func (c *connection) HasUnread() bool {
	c.looks++
	return c.unread
}

// enter adds a member and lets a second pass.
func (t *testTable) enter(name, from string, class Class) *Member {
	m := &Member{}
	addr, _ := netip.ParseAddr(from)
	t.Enter(m, &connection{evict: func(reason *EvictedError) {
		t.gone, t.reasons[name] = append(t.gone, name), reason
	}}, addr, class)
	t.members[name] = m
	t.clock = t.clock.Add(time.Second)
	return m
}

// The connection that has been unanswered for longest goes first, then the one
// that has been silent for longest, then the one answered first.
func TestOldestPartialConnectionIsEvictedFirst(t *testing.T) {
	table := newTestTable(Limits{Address: 100, Site: 100, Total: 6})
	for i, class := range []Class{Answered, Silent, Partial, Silent, Partial, Answered} {
		table.enter(fmt.Sprint(i), fmt.Sprintf("192.0.%d.1", i), class)
	}
	table.clock = table.clock.Add(time.Minute)
	for i := range 5 {
		table.enter(fmt.Sprint("new", i), fmt.Sprintf("198.51.%d.1", i), Answered)
		table.Move(table.members[fmt.Sprint("new", i)], Answered)
		table.clock = table.clock.Add(time.Minute)
	}
	if want := []string{"2", "4", "1", "3", "0"}; !slices.Equal(table.gone, want) {
		t.Errorf("evicted %v, want %v", table.gone, want)
	}
}

// TryEnter evicts none: at a limit the newcomer stays outside, and may come again.
func TestTryEnterMakesNoRoom(t *testing.T) {
	table := newTestTable(Limits{Address: 1, Site: 2, Total: 3})
	try := func(m *Member, from string, want bool) {
		t.Helper()
		c := &connection{evict: func(*EvictedError) { t.Error("the newcomer is evicted") }}
		if got := table.TryEnter(m, c, netip.MustParseAddr(from), Partial); got != want {
			t.Errorf("from %s: %v", from, got)
		}
	}
	first := table.enter("first", "192.0.2.1", Partial)
	table.clock = table.clock.Add(time.Hour)
	newcomer := &Member{}
	try(newcomer, "192.0.2.1", false) // the address has one
	try(&Member{}, "192.0.2.2", true)
	try(&Member{}, "192.0.2.3", false) // the site has two
	try(&Member{}, "198.51.100.1", true)
	try(&Member{}, "203.0.113.1", false) // there are three
	table.Leave(first)
	try(newcomer, "192.0.2.1", true)
	try(newcomer, "192.0.2.1", true)
	if table.Len() != 3 || len(table.gone) > 0 {
		t.Errorf("%d members, %v are evicted", table.Len(), table.gone)
	}
	table.Leave(newcomer)
	if _, known := table.networks[Address][netip.MustParsePrefix("203.0.113.1/32")]; known || len(table.networks[Address]) != 2 {
		t.Errorf("networks without members: %v", table.networks[Address])
	}
}

// A connection that is silent gets a new place with its first byte: its age
// counts from there.
func TestAgeCountsFromTheFirstByte(t *testing.T) {
	table := newTestTable(Limits{Address: 2, Site: 100, Total: 100})
	early := table.enter("early", "192.0.2.1", Silent)
	table.clock = table.clock.Add(time.Hour)
	table.enter("stale", "192.0.2.1", Partial)
	table.clock = table.clock.Add(3 * time.Second)
	table.Move(early, Partial)
	table.enter("next", "192.0.2.1", Silent)
	if !slices.Equal(table.gone, []string{"stale"}) {
		t.Errorf("evicted %v", table.gone)
	}
}

// A client whose hello was answered keeps its place beside newcomers of any kind, as
// long as it is within its grace.
func TestAnsweredHelloOutranksNewcomers(t *testing.T) {
	table := newTestTable(Limits{Address: 2, Site: 100, Total: 100})
	client := table.enter("client", "192.0.2.1", Silent)
	table.clock = table.clock.Add(-time.Second)
	table.Move(client, HelloAnswered)
	for i, class := range []Class{Silent, Partial, Answered, Silent} {
		table.enter(fmt.Sprint(i), "192.0.2.1", class)
		table.clock = table.clock.Add(-time.Second)
	}
	if !slices.Equal(table.gone, []string{"0", "1", "2"}) {
		t.Errorf("evicted %v", table.gone)
	}
	table.clock = table.clock.Add(time.Minute)
	table.Move(table.members["3"], Answered)
	table.enter("late", "192.0.2.1", Silent)
	if !slices.Equal(table.gone, []string{"0", "1", "2", "client"}) {
		t.Errorf("a minute later, evicted %v", table.gone)
	}
}

// A connection with bytes that were not read yet is not silent: those that are make
// room first, however young.
func TestUnreadBytesCountAsFirstBytes(t *testing.T) {
	table := newTestTable(Limits{Address: 3, Site: 100, Total: 100})
	table.clock = table.clock.Add(-time.Second / 2)
	for _, name := range []string{"a", "b"} {
		table.enter(name, "192.0.2.1", Silent).connection.(*connection).unread = true
		table.clock = table.clock.Add(-time.Second)
	}
	table.enter("c", "192.0.2.1", Silent)
	table.clock = table.clock.Add(-time.Second)
	table.enter("d", "192.0.2.1", Silent)
	table.enter("e", "192.0.2.1", Silent)
	if !slices.Equal(table.gone, []string{"c", "d"}) || table.all.lists[Complete].count != 2 {
		t.Errorf("evicted %v, %d complete", table.gone, table.all.lists[Complete].count)
	}
}

// One eviction asks few connections for unread bytes, however many have some: it holds
// up all others meanwhile. None is asked again, so the evictions that follow get to all.
func TestEvictionLooksAtFewConnections(t *testing.T) {
	for _, age := range []time.Duration{0, time.Minute} {
		table := newTestTable(Limits{Address: 1000, Site: 1000, Total: 1000})
		for i := range 1000 {
			from := fmt.Sprintf("192.0.%d.1", i/4) // the payer is one of them, or all
			if i >= 900 {
				from = "198.51.100.1"
			}
			table.enter(fmt.Sprint(i), from, Silent).connection.(*connection).unread = true
			table.clock = table.clock.Add(-time.Second)
		}
		table.clock = table.clock.Add(age)
		looks := 0
		for i := range 100 {
			table.enter(fmt.Sprint("new", i), fmt.Sprintf("203.0.%d.1", i), Silent)
			table.clock = table.clock.Add(-time.Second)
			before := looks
			looks = 0
			for _, m := range table.members {
				looks += m.connection.(*connection).looks
			}
			if looks-before > maxLooks {
				t.Fatalf("%d connections are asked for one newcomer", looks-before)
			}
		}
		for name, m := range table.members {
			if c := m.connection.(*connection); c.unread && c.looks > 1 {
				t.Errorf("connection %s is asked %d times", name, c.looks)
			}
		}
		if len(table.gone) != 100 {
			t.Errorf("%d evicted", len(table.gone))
		}
	}
}

// A client within its grace is not evicted while there are older connections on
// its address, even by a crowd of newcomers.
func TestClientWithinGraceStaysBesideAnAttacker(t *testing.T) {
	table := newTestTable(Limits{Address: 10, Site: 100, Total: 100})
	for i := range 10 {
		table.enter(fmt.Sprint("attacker", i), "192.0.2.1", Class(i%2))
	}
	table.enter("client", "192.0.2.1", Silent)
	table.clock = table.clock.Add(-time.Second) // as if at once
	for i := range 4 {
		table.enter(fmt.Sprint("more", i), "192.0.2.1", Silent)
		table.clock = table.clock.Add(-time.Second)
	}
	if slices.Contains(table.gone, "client") || len(table.gone) != 5 {
		t.Errorf("evicted %v", table.gone)
	}
	// Where all are within it, the oldest silent one goes all the same.
	crowd := newTestTable(Limits{Address: 3, Site: 3, Total: 3})
	for i := range 4 {
		crowd.enter(fmt.Sprint(i), "192.0.2.1", Silent)
		crowd.clock = crowd.clock.Add(-time.Second)
	}
	if !slices.Equal(crowd.gone, []string{"0"}) {
		t.Errorf("evicted %v", crowd.gone)
	}
}

// A network at its limit makes room itself: others are untouched, and the reason
// names it.
func TestNetworkAtItsLimitMakesRoomItself(t *testing.T) {
	table := newTestTable(Limits{Address: 2, Site: 4, Total: 1000})
	table.enter("neighbour", "192.0.3.9", Silent)
	for i := range 5 {
		table.enter(fmt.Sprint("a", i), "::ffff:192.0.2.1", Silent)
	}
	for i := range 5 {
		table.enter(fmt.Sprint("b", i), fmt.Sprintf("192.0.2.%d", 10+i), Silent)
	}
	for i := range 3 {
		table.enter(fmt.Sprint("six", i), fmt.Sprintf("2001:db8:0:1::%d", i), Silent)
	}
	if slices.Contains(table.gone, "neighbour") || len(table.gone) != 3+3+1 {
		t.Errorf("evicted %v", table.gone)
	}
	if r := table.reasons["a0"]; r.Scope != Address || r.Limit != 2 || r.Network != netip.MustParsePrefix("192.0.2.1/32") {
		t.Errorf("%+v", r)
	}
	if r := table.reasons["a3"]; r.Scope != Site || r.Limit != 4 || r.Network != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("%+v", r)
	}
	if r := table.reasons["six0"]; r.Network != netip.MustParsePrefix("2001:db8:0:1::/64") {
		t.Errorf("%+v", r)
	}
}

// When the total is reached, a site that has more than an equal share of it makes
// room for its own newcomers.
func TestSiteBeyondItsShareMakesRoomInTotal(t *testing.T) {
	table := newTestTable(Limits{Address: 1000, Site: 1000, Total: 20})
	table.enter("old visitor", "198.51.100.1", Silent)
	for i := range 50 {
		table.enter(fmt.Sprint("crowd", i), "192.0.2.1", Silent)
	}
	if slices.Contains(table.gone, "old visitor") || len(table.gone) != 31 {
		t.Errorf("%d evicted: %v", len(table.gone), table.gone)
	}
	table.enter("new visitor", "203.0.113.1", Silent)
	if table.Len() != 20 || slices.Contains(table.gone, "new visitor") {
		t.Errorf("%d members", table.Len())
	}
}

// Clients without an address, of a Unix socket, have no share and no network.
func TestClientsWithoutAnAddressCountInTotalOnly(t *testing.T) {
	table := newTestTable(Limits{Address: 1, Site: 1, Total: 3})
	for i := range 4 {
		table.enter(fmt.Sprint(i), "", Silent)
	}
	if !slices.Equal(table.gone, []string{"0"}) || table.reasons["0"].Network.IsValid() {
		t.Errorf("evicted %v, %v", table.gone, table.reasons["0"])
	}
}

// EvictOldest makes room when descriptors run out.
func TestEvictOldestStopsWhenNoneIsLeft(t *testing.T) {
	table := newTestTable(Limits{Address: 100, Site: 100, Total: 100})
	for i := range 5 {
		table.enter(fmt.Sprint(i), "192.0.2.1", Silent)
	}
	if n := table.EvictOldest(3); n != 3 || table.Len() != 2 {
		t.Errorf("%d evicted, %d left", n, table.Len())
	}
	if n := table.EvictOldest(3); n != 2 || table.Len() != 0 {
		t.Errorf("%d evicted, %d left", n, table.Len())
	}
}

// After any sequence of calls the limits hold, an evicted member does not come
// back, and nothing is left of members that are gone.
func TestLimitsHoldAfterAnySequence(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	limits := Limits{Address: 3, Site: 7, Total: 20}
	table := newTestTable(limits)
	var all []*Member
	for step := range 20000 {
		switch m := (*Member)(nil); {
		case len(all) > 0 && random.IntN(3) > 0:
			m = all[random.IntN(len(all))]
			if random.IntN(2) == 0 {
				table.Move(m, Class(random.IntN(classes)))
			} else {
				table.Leave(m)
			}
		default:
			all = append(all, table.enter(fmt.Sprint(step), fmt.Sprintf("10.0.%d.%d", random.IntN(4), random.IntN(5)), Class(random.IntN(classes))))
		}
		counts := [scopes]map[netip.Prefix]int{{}, {}, {}}
		present := 0
		for _, m := range all {
			if !m.present {
				continue
			}
			present++
			for scope, g := range m.groups {
				counts[scope][g.network]++
				if g.count < counts[scope][g.network] || g.count > limits[scope] {
					t.Fatalf("step %d: a group of %d", step, g.count)
				}
			}
		}
		checkRanking(t, &table.all, Site, counts)
		if table.Len() != present || len(table.networks[Address]) != len(counts[Address]) || len(table.networks[Site]) != len(counts[Site]) {
			t.Fatalf("step %d: %d members of %d, %d addresses", step, table.Len(), present, len(table.networks[Address]))
		}
		if len(all) > 100 {
			all = slices.DeleteFunc(all, func(m *Member) bool { return !m.present })
		}
	}
	for _, m := range all {
		table.Leave(m)
	}
	if table.Len() != 0 || len(table.networks[Address])+len(table.networks[Site]) != 0 || table.all.networks.groups != 0 || len(table.all.networks.first) != 0 {
		t.Error("something is left")
	}
}

// Peers without an address have a limit of their own, and no peer with one is taken for them.
func TestPeersWithoutAnAddressAreTheirOwnNetwork(t *testing.T) {
	for from, want := range map[string]string{
		NoAddress.String(): "limit of 1 for peers without an address", "::1": "limit of 1 for an address of ::/48",
	} {
		table := newTestTable(Limits{Address: 1, Site: 100, Total: 100})
		for _, other := range []string{NoAddress.String(), "::1", "192.0.2.1"} {
			table.enter(other, other, Silent)
		}
		table.enter("new", from, Silent)
		if reason := table.reasons[from]; len(table.gone) != 1 || reason == nil || reason.Error() != ErrEvicted.Error()+": "+want {
			t.Errorf("%s: evicted %v, %v", from, table.gone, reason)
		}
	}
}
