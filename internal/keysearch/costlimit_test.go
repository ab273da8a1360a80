package keysearch

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// For any processor, length of the hellos and number of networks, failed searches
// take their share of processor time in the long run, and not less if there are
// enough of them.
func TestFailedSearchesTakeTheirShareOfProcessorTime(t *testing.T) {
	const duration, clients = 10 * time.Second, 32
	for name, c := range map[string]struct {
		processors float64
		perUnit    time.Duration
		q          Query
		networks   int
	}{
		"dd, AVX-512, one network":             {0, 80, initQuery, 1},
		"ee, AVX-512, one network":             {0, 13, helloQuery, 1},
		"ee, AVX2, many networks":              {0, 25, helloQuery, 1000},
		"16 KiB, AVX-512, many networks":       {0, 13, longHelloQuery, 1000},
		"16 KiB, no vector units, one network": {0, 300, longHelloQuery, 1},
		"16 KiB, no vector units, 16 networks": {0, 300, longHelloQuery, 16},
		"ee, no vector units, 1.5 processors":  {1.5, 300, helloQuery, 16},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newTimedSearch(Config{Processors: c.processors}, c.perUnit)
			share := c.processors
			if share == 0 {
				share = 0.5
			}
			end := time.Now().Add(duration)
			for i := range clients {
				go func() {
					for k := i; time.Now().Before(end); k += clients {
						s.fail(t.Context(), address(k%c.networks), c.q)
						time.Sleep(10 * time.Millisecond)
					}
				}()
			}
			time.Sleep(duration)
			budget := time.Duration(share * float64(duration))
			took, burst := time.Duration(s.took.Load()), time.Duration(share*float64(burstTime))
			if took > budget+burst+budget/20 || took < budget*9/10 {
				t.Errorf("%s: failed searches took %v, want %v to %v", name, took, budget, budget+burst)
			}
			time.Sleep(time.Minute) // the last searches end
		})
	}
}

// Searches that find their key cost nothing, in total and for the network.
func TestSuccessfulSearchesCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 300)
		for i := range 100 {
			start := time.Now()
			entry, outcome := s.find(t.Context(), address(i%3), helloQuery, 9000+i)
			if entry != 9000+i || outcome != Found {
				t.Fatalf("client %d is found as %d: %v", i, entry, outcome)
			}
			if took, want := time.Since(start), s.cost(helloQuery, 10000); took > want*11/10 {
				t.Fatalf("search %d took %v, want %v", i, took, want)
			}
		}
		if took := time.Duration(s.took.Load()); took < 5*time.Second {
			t.Errorf("searches took %v in all, which is too little to see", took)
		}
		for i := range 3 {
			network, site := s.queue.limits.accounts(address(i))
			if level := s.queue.limits.total.level; level != 0 || network.debt > time.Millisecond || site.debt > time.Millisecond {
				t.Errorf("successful searches cost %v, the network %v, the site %v", level, network.debt, site.debt)
			}
		}
	})
}

// While the budget is spent, clients of known addresses are found at once, and
// those of other addresses as the budget grows.
func TestReturningClientsPassWhileTheBudgetIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 25)
		for i := range 1000 {
			s.find(t.Context(), address(i), helloQuery, i)
		}
		s.spend(time.Hour)
		start := time.Now()
		for i := range 1000 {
			if entry, outcome := s.find(t.Context(), address(i), helloQuery, i); entry != i || outcome != Found {
				t.Fatalf("client %d is found again as %d: %v", i, entry, outcome)
			}
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("1000 searches for returning clients took %v", took)
		}
		if entry, outcome := s.find(t.Context(), address(5000), helloQuery, 5000); entry != -1 || outcome != NotSearched {
			t.Errorf("beyond the budget a newcomer is found as %d: %v", entry, outcome)
		}
		time.Sleep(2 * time.Hour)
		if entry, outcome := s.find(t.Context(), address(5000), helloQuery, 5000); entry != 5000 || outcome != Found {
			t.Errorf("when the budget is back, a newcomer is found as %d: %v", entry, outcome)
		}
	})
}

// A hello with one secret that is replayed from ever new networks is found among
// the keys of the latest newcomers, so that it does not cost a search among all
// keys each time, for which nothing is charged.
func TestOneSecretFromManyNetworksIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 300)
		for i := range 1000 {
			if entry, _ := s.find(t.Context(), address(i<<8), helloQuery, 9999); entry != 9999 {
				t.Fatalf("replay %d is found as %d", i, entry)
			}
		}
		if took, one := time.Duration(s.took.Load()), s.cost(helloQuery, 10000); took > 2*one {
			t.Errorf("1000 replays took %v, one search %v", took, one)
		}
	})
}

// A client of a Unix socket has no address, and no debt of a network.
func TestClientsWithoutAnAddressShareTheWholeBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 25)
		for range 1000 {
			s.fail(t.Context(), netip.Addr{}, helloQuery)
		}
		if took := time.Duration(s.took.Load()); took < time.Second {
			t.Errorf("1000 searches took %v", took)
		}
		if n := s.queue.limits.networks.Len() + s.queue.limits.sites.Len(); n != 0 {
			t.Errorf("%d accounts of no address", n)
		}
		if debt := s.queue.enter(netip.Addr{}, helloQuery, 100).debt(time.Now()); debt > s.cost(helloQuery, 100)*2 {
			t.Errorf("a client without an address starts with a debt of %v", debt)
		}
	})
}

// The debt of a network is what its failed searches took, and halves with time.
// Another address of an IPv6 network has the same debt, another network of the
// site a part of it.
func TestFailedSearchesAreANetworksDebt(t *testing.T) {
	for _, c := range []struct{ from, same, neighbour, other string }{
		{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "192.0.3.1"},
		{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:1::1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newTimedSearch(Config{}, 25)
			for range 20 {
				s.fail(t.Context(), netip.MustParseAddr(c.from), helloQuery)
			}
			cost := time.Duration(s.took.Load())
			debt := func(from string) time.Duration {
				j := s.queue.enter(netip.MustParseAddr(from), helloQuery, 0)
				defer s.queue.leave(j, NotSearched, false)
				return j.debt(time.Now())
			}
			for name, d := range map[string]struct {
				from string
				want time.Duration
			}{
				"the same network": {c.same, cost + cost/siteShare},
				"a neighbour":      {c.neighbour, cost / siteShare},
				"another site":     {c.other, 0},
			} {
				if got := debt(d.from); got < d.want*9/10 || got > d.want*11/10 {
					t.Errorf("after %v, %s of %s has a debt of %v, want %v", cost, name, c.from, got, d.want)
				}
			}
			before := debt(c.from)
			time.Sleep(halfLife)
			if got := debt(c.from); got < before*49/100 || got > before*51/100 {
				t.Errorf("debt after %v: %v, before: %v", halfLife, got, before)
			}
		})
	}
}

// A search that is left early costs what it took, however often it is: what it
// has paid ahead comes back, and no other debt with it.
func TestSearchesThatAreLeftCostWhatTheyTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 300)
		from := address(1)
		for range 4 {
			s.fail(t.Context(), from, longHelloQuery)
		}
		network, _ := s.queue.limits.accounts(from)
		before := network.debtAt(time.Now())
		start, took := time.Now(), s.took.Load()
		for range 200 {
			s.failFor(t, from, longHelloQuery, 10*time.Millisecond)
		}
		spent := time.Duration(s.took.Load() - took)
		if least, now := decayed(before, time.Since(start)), network.debtAt(time.Now()); now < least || now > before+spent+spent/10 {
			t.Errorf("a debt of %v is %v after 200 searches that took %v", before, now, spent)
		}
		if s.inQueue() != 0 {
			t.Errorf("%d searches are in the queue", s.inQueue())
		}
	})
}

// What a search has paid ahead decays with the other debts before it comes back.
func TestRefundsDecayToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 300)
		j := s.queue.enter(address(1), longHelloQuery, 10000)
		j.network.charge(time.Second, time.Now())
		s.queue.acquire(t.Context(), j, 10000)
		time.Sleep(halfLife)
		s.queue.leave(j, NotSearched, false)
		if got, want := j.network.debtAt(time.Now()), time.Second/2; got < want-time.Millisecond || got > want+time.Millisecond {
			t.Errorf("the debt is %v, want %v", got, want)
		}
	})
}

// The tables of networks and sites are bounded. A network that was dropped starts
// anew.
func TestCostLimiterForgetsTheOldestNetworks(t *testing.T) {
	l := newCostLimiter(0)
	now := time.Now()
	network, _ := l.accounts(address(0))
	network.charge(time.Second, now)
	for i := 1; i <= 2*accountCapacity; i++ {
		l.accounts(address(i << 8))
		if n := l.networks.Len(); n > 2*accountCapacity {
			t.Fatalf("%d networks are in the table", n)
		}
		if i == accountCapacity-1 {
			if again, ok := l.networks.Get(address(0)); !ok || again.debtAt(now) != time.Second {
				t.Errorf("the first network is forgotten after %d others", i)
			}
		}
	}
	if network, _ := l.accounts(address(0)); network.debtAt(now) != 0 {
		t.Error("the first network is still known")
	}
}

// The keys of few secrets are tried at once, without the queue, unless the hello
// is much longer than clients' are.
func TestFewKeysAreTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 25)
		s.spend(time.Hour)
		for _, c := range []struct {
			keys   int
			length int
			want   Outcome
		}{{1, 517, NoMatch}, {64, 1817, NoMatch}, {64, 4096, NoMatch}, {65, 517, NotSearched}, {64, 16 << 10, NotSearched}, {8, 16 << 10, NoMatch}} {
			s.index = s.NewIndex(entriesOf(0, c.keys, mtproxy.FakeTLS, "a.example"))
			q := Query{FakeTLS: true, ServerName: "a.example", Length: c.length}
			if outcome := s.fail(t.Context(), address(1), q); outcome != c.want {
				t.Errorf("%d keys, %d bytes: %v, want %v", c.keys, c.length, outcome, c.want)
			}
		}
	})
}
