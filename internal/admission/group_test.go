package admission

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// checkRanking compares the ranking of the networks within g, which are of a scope,
// with the members that were counted.
func checkRanking(t *testing.T, g *group, scope Scope, counts [scopes]map[netip.Prefix]int) {
	t.Helper()
	most, networks := 0, 0
	for network, n := range counts[scope] {
		if g.network.IsValid() && !g.network.Contains(network.Addr()) {
			continue
		}
		most, networks = max(most, n), networks+1
	}
	r := g.networks
	if r.groups != networks || networks > 0 && (len(r.first) != most+1 || r.first[most].count != most) {
		t.Fatalf("%v: ranking of %d networks, %d at most; want %d, %d", g.network, r.groups, len(r.first)-1, networks, most)
	}
	for ranked, first := range r.first {
		for child := first; child != nil; child = child.ranked.next {
			if networks--; child.count != ranked || child.parent != g {
				t.Fatalf("%v: %v with %d members is ranked at %d", g.network, child.network, child.count, ranked)
			}
			if scope == Site {
				checkRanking(t, child, Address, counts)
			}
		}
	}
	if networks != 0 {
		t.Fatalf("%v: %d networks are not ranked", g.network, networks)
	}
}

// A network that has more than twice as many connections as others on average makes
// room, however far its connections have come: clients of other networks that have
// sent nothing yet are not evicted in favour of its visitors and half hellos.
func TestMostChargedNetworkMakesRoom(t *testing.T) {
	for _, class := range []Class{Silent, Partial, Complete, Answered, HelloAnswered} {
		table := newTestTable(Limits{Address: 1000, Site: 1000, Total: 40})
		for i := range 20 {
			table.enter(fmt.Sprint("other", i), fmt.Sprintf("192.0.%d.1", i), Silent)
		}
		for i := range 20 {
			table.enter(fmt.Sprint("attacker", i), "198.51.100.1", class)
		}
		table.clock = table.clock.Add(time.Minute)
		for i := range 10 {
			table.enter(fmt.Sprint("new", i), fmt.Sprintf("203.0.%d.1", i), Silent)
		}
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprint("attacker", i))
		}
		if !slices.Equal(table.gone, want) {
			t.Errorf("class %d: evicted %v", class, table.gone)
		}
	}
}

// A few clients behind one address, all of them about to be served, do not make room
// for attackers that have one idle connection a network; nor do they within a site that
// has more than others. Once they are idle themselves, they do.
func TestClientsBehindOneAddressStayBesideIdleNetworks(t *testing.T) {
	const step = 10 * time.Millisecond
	for name, bot := range map[string]string{"networks": "2001:db8:%x::1", "the same site": "192.0.2.%d"} {
		for _, class := range []Class{Silent, Partial, Complete, Answered, HelloAnswered} {
			table := newTestTable(Limits{Address: 50, Site: 100, Total: 100})
			for i := range 97 {
				table.enter(fmt.Sprint("bot", i), fmt.Sprintf(bot, i+2), class)
				table.clock = table.clock.Add(-time.Second)
			}
			table.clock = table.clock.Add(4 * time.Minute)
			for i, class := range []Class{Silent, Complete, HelloAnswered} {
				table.Move(table.enter(fmt.Sprint("client", i), "192.0.2.1", Silent), class)
				table.clock = table.clock.Add(step - time.Second)
			}
			var want []string
			for i := range 10 {
				table.enter(fmt.Sprint("new", i), fmt.Sprintf(bot, 100+i), Silent)
				table.clock = table.clock.Add(step - time.Second)
				want = append(want, fmt.Sprint("bot", i))
			}
			if !slices.Equal(table.gone, want) {
				t.Errorf("%s, class %d: evicted %v", name, class, table.gone)
			}
			table.clock = table.clock.Add(time.Minute)
			table.enter("last", "203.0.113.1", Silent)
			if last := table.gone[len(table.gone)-1]; name == "networks" && last != "client0" {
				t.Errorf("%s, class %d: a minute later, evicted %s", name, class, last)
			}
		}
	}
}

// A network that floods pays although all of its connections are within their grace:
// those that others have opened ahead of need stay.
func TestFloodOfNewcomersPaysItself(t *testing.T) {
	for _, flood := range []string{"198.51.100.1", "198.51.100.%d"} {
		for _, class := range []Class{Silent, Partial, Complete, Answered, HelloAnswered} {
			table := newTestTable(Limits{Address: 1000, Site: 1000, Total: 40})
			for i := range 20 {
				table.enter(fmt.Sprint("other", i), fmt.Sprintf("192.0.%d.1", i), Silent)
			}
			table.clock = table.clock.Add(time.Minute)
			for i := range 100 {
				from := flood
				if strings.Contains(flood, "%") {
					from = fmt.Sprintf(flood, i)
				}
				table.enter(fmt.Sprint("attacker", i), from, class)
				table.clock = table.clock.Add(time.Millisecond - time.Second)
			}
			if len(table.gone) != 80 || slices.ContainsFunc(table.gone, func(name string) bool { return name[0] != 'a' }) {
				t.Errorf("%s, class %d: evicted %v", flood, class, table.gone)
			}
		}
	}
}

// The address that has most makes room for its neighbours, at the limit of their site
// and in total.
func TestMostChargedAddressMakesRoomForItsNeighbours(t *testing.T) {
	for _, limits := range []Limits{{100, 12, 100}, {100, 100, 12}} {
		table := newTestTable(limits)
		table.enter("neighbour", "192.0.2.1", Silent)
		for i := range 11 {
			table.enter(fmt.Sprint("attacker", i), "192.0.2.66", Answered)
		}
		table.clock = table.clock.Add(time.Minute)
		table.enter("another", "192.0.2.2", Silent)
		table.enter("third", "192.0.2.3", Silent)
		if want := []string{"attacker0", "attacker1"}; !slices.Equal(table.gone, want) {
			t.Errorf("%v: evicted %v", limits, table.gone)
		}
	}
}

// Among networks that have about as many connections as each other, what the
// connections have done decides, and not which network has one more.
func TestAmongEqualNetworksTheLeastDeservingMakesRoom(t *testing.T) {
	table := newTestTable(Limits{Address: 100, Site: 100, Total: 31})
	for i := range 10 {
		for range 3 {
			table.enter(fmt.Sprint("site", i), fmt.Sprintf("192.0.%d.1", i), Answered)
		}
	}
	table.enter("silent", "192.0.3.2", Silent)
	table.clock = table.clock.Add(time.Minute)
	table.enter("new", "198.51.100.1", Silent)
	if want := []string{"silent"}; !slices.Equal(table.gone, want) {
		t.Errorf("evicted %v", table.gone)
	}
}

// A visitor that moves bytes is evicted after all that do not, also after newcomers
// that have sent nothing.
func TestVisitorThatMovesBytesIsEvictedLast(t *testing.T) {
	table := newTestTable(Limits{Address: 4, Site: 100, Total: 100})
	busy := table.enter("busy", "192.0.2.1", Answered)
	for i, class := range []Class{Answered, Complete, Partial} {
		table.enter(fmt.Sprint("idle", i), "192.0.2.1", class)
	}
	table.clock = table.clock.Add(time.Minute)
	for i := range 6 {
		table.Touch(busy)
		table.clock = table.clock.Add(10 * time.Millisecond)
		table.enter(fmt.Sprint("new", i), "192.0.2.1", Silent)
		table.clock = table.clock.Add(-time.Second)
	}
	want := []string{"idle2", "idle1", "idle0", "new0", "new1", "new2"}
	if !slices.Equal(table.gone, want) {
		t.Errorf("evicted %v, want %v", table.gone, want)
	}
	gone := table.members["idle0"]
	if table.Touch(gone); gone.present {
		t.Error("a touch brings an evicted member back")
	}
}

// Beside an attacker on its own address, a newcomer whose first bytes are on their way
// is not the one to be evicted, nor one that has sent its whole hello: both are about
// to be served. That holds whatever the attacker's connections have sent, and also
// within their grace.
func TestNewcomerIsNotEvictedBesideAnAttackersConnections(t *testing.T) {
	const round = 10 * time.Millisecond
	for _, class := range []Class{Silent, Partial, Complete, Answered, HelloAnswered} {
		for _, arrived := range []Class{Silent, Complete} {
			table := newTestTable(Limits{Address: 24, Site: 100, Total: 100})
			for i := range 24 {
				table.enter(fmt.Sprint("attacker", i), "192.0.2.1", class)
				table.clock = table.clock.Add(round - time.Second)
			}
			table.clock = table.clock.Add(300 * time.Millisecond)
			client := table.enter("client", "192.0.2.1", Silent)
			table.clock = table.clock.Add(round - time.Second)
			table.Move(client, arrived)
			for i := range 10 {
				table.enter(fmt.Sprint("new", i), "192.0.2.1", Silent)
				table.clock = table.clock.Add(round - time.Second)
			}
			if len(table.gone) != 11 || slices.ContainsFunc(table.gone, func(name string) bool { return name[0] != 'a' }) {
				t.Errorf("class %d, and the client %d: evicted %v", class, arrived, table.gone)
			}
		}
	}
}

// A visitor that has its answer, and one that waits for it, keep their places within
// their grace beside a flood of newcomers that send nothing.
func TestVisitorWithinGraceOutranksSilentNewcomers(t *testing.T) {
	for _, class := range []Class{Complete, Answered} {
		table := newTestTable(Limits{Address: 4, Site: 100, Total: 100})
		table.enter("visitor", "192.0.2.1", class)
		table.clock = table.clock.Add(-time.Second / 2)
		for i := range 50 {
			table.enter(fmt.Sprint("new", i), "192.0.2.1", Silent)
			table.clock = table.clock.Add(20*time.Millisecond - time.Second)
		}
		if slices.Contains(table.gone, "visitor") || len(table.gone) != 47 {
			t.Errorf("class %d: evicted %v", class, table.gone)
		}
	}
}

// Silent connections make room before a client that waits for the key search or for
// the site, however long both have been there.
func TestCompleteHelloOutranksSilence(t *testing.T) {
	for _, age := range []time.Duration{0, time.Second, time.Minute} {
		table := newTestTable(Limits{Address: 10, Site: 100, Total: 100})
		client := table.enter("client", "192.0.2.1", Silent)
		table.Move(client, Complete)
		table.clock = table.clock.Add(-time.Second)
		for i := range 9 {
			table.enter(fmt.Sprint("silent", i), "192.0.2.1", Silent)
			table.clock = table.clock.Add(-time.Second)
		}
		table.clock = table.clock.Add(age)
		for i := range 9 {
			table.enter(fmt.Sprint("new", i), "192.0.2.1", Silent)
			table.clock = table.clock.Add(-time.Second)
		}
		if slices.Contains(table.gone, "client") || len(table.gone) != 9 {
			t.Errorf("after %v: evicted %v", age, table.gone)
		}
	}
}
