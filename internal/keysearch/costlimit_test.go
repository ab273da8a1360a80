package keysearch

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// limitedSearch is a search among 10,000 entries, with a clock that the test
// sets.
type limitedSearch struct {
	*Search
	index   *Index
	clock   time.Time
	skipped int
}

func newLimitedSearch() *limitedSearch {
	l := &limitedSearch{Search: New(), clock: time.Unix(1e9, 0)}
	l.index = l.NewIndex(entriesOf(0, 10000, mtproxy.Plain, ""))
	l.costs.now = func() time.Time { return l.clock }
	return l
}

// fail searches for a client without a secret, and reports whether all keys
// were tried.
func (l *limitedSearch) fail(from netip.Addr, q Query) (tried bool) {
	_, searched := l.Find(l.index, from, q, func(*mtproxy.KeySet) int { tried = true; return -1 })
	if searched != tried {
		panic("Find does not report what it did")
	}
	if !searched {
		l.skipped++
	}
	return tried
}

// failUntilSkipped counts the searches for clients of an address before the
// first one that is skipped.
func (l *limitedSearch) failUntilSkipped(from netip.Addr, q Query) (n int) {
	for n < 1e6 && l.fail(from, q) {
		n++
	}
	return n
}

// find searches for a client that has the secret of entry i.
func (l *limitedSearch) find(from netip.Addr, i int) (entry int) {
	entry, searched := l.Find(l.index, from, initQuery, func(set *mtproxy.KeySet) int {
		if set.Len() == 10000 {
			return i
		}
		return 0 // the remembered one
	})
	if !searched {
		l.skipped++
	}
	return entry
}

var (
	initQuery      = Query{Length: obfuscation.InitLength}
	helloQuery     = Query{FakeTLS: true, ServerName: "a.example", Length: 517}
	longHelloQuery = Query{FakeTLS: true, ServerName: "a.example", Length: 10 * 1024}
)

// After failed searches at the cost of its share, a network's searches are
// skipped, and those of other networks are not. Time refills the share.
func TestNetworkHasAShareOfTheBudget(t *testing.T) {
	for name, c := range map[string]struct {
		q     Query
		cost  int
		a, b  string
		other string
	}{
		"dd":           {initQuery, 10000, "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"},
		"ee":           {helloQuery, 30000, "192.0.2.1", "192.0.2.1", "192.0.2.2"},
		"a long hello": {longHelloQuery, 410000, "192.0.2.1", "192.0.2.1", "192.0.2.2"},
		"IPv6":         {initQuery, 10000, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"},
	} {
		l := newLimitedSearch()
		a, again, other := netip.MustParseAddr(c.a), netip.MustParseAddr(c.b), netip.MustParseAddr(c.other)
		share := (networkBurst + c.cost - 1) / c.cost
		if n := l.failUntilSkipped(a, c.q); n != share || l.skipped != 1 {
			t.Errorf("%s: %d failed searches, want %d; %d were skipped", name, n, share, l.skipped)
		}
		if l.fail(again, c.q) {
			t.Errorf("%s: another address of the network is searched for", name)
		}
		if !l.fail(other, c.q) {
			t.Errorf("%s: another network is not searched for", name)
		}
		l.clock = l.clock.Add(time.Second)
		refilled := (networkRate + c.cost - 1) / c.cost
		if n := l.failUntilSkipped(a, c.q); n < refilled-1 || n > refilled+1 {
			t.Errorf("%s: %d failed searches after a second, want %d", name, n, refilled)
		}
		l.clock = l.clock.Add(time.Hour)
		if n := l.failUntilSkipped(a, c.q); n != share {
			t.Errorf("%s: %d failed searches after an hour, want %d", name, n, share)
		}
	}
}

// After failed searches at the cost of the whole budget, searches are skipped
// for all networks. Clients of known addresses are found nevertheless, and
// successful searches cost nothing.
func TestReturningClientsPassWhileTheBudgetIsSpent(t *testing.T) {
	l := newLimitedSearch()
	for i := range 1000 {
		if l.find(address(i), i) != i {
			t.Fatalf("client %d is not found", i)
		}
	}
	const first = 1 << 20 // address of a client without a secret
	n := 0
	for ; l.fail(address(first+n), initQuery); n++ {
	}
	if want := totalBurst / 10000; n != want {
		t.Errorf("%d failed searches for as many networks, want %d", n, want)
	}
	for i := range 1000 {
		if l.find(address(i), i) != i {
			t.Fatalf("client %d is not found again", i)
		}
	}
	if l.skipped != 1 {
		t.Errorf("%d searches were skipped", l.skipped)
	}
	if l.find(address(first-1), 5) != -1 || l.skipped != 2 {
		t.Error("a client of a new address is searched for nevertheless")
	}
	l.clock = l.clock.Add(time.Second)
	if l.find(address(first-1), 5) != 5 {
		t.Error("a client of a new address is not searched for after a second")
	}
}

// A client of a Unix socket has no address, and no network's share.
func TestClientsWithoutAnAddressShareTheWholeBudget(t *testing.T) {
	l := newLimitedSearch()
	if n, want := l.failUntilSkipped(netip.Addr{}, initQuery), totalBurst/10000; n != want {
		t.Errorf("%d failed searches, want %d", n, want)
	}
}

// The table of networks is bounded. A network that was dropped starts anew.
func TestCostLimiterForgetsTheOldestNetworks(t *testing.T) {
	l := newCostLimiter()
	l.now = func() time.Time { return time.Unix(1e9, 0) }
	l.charge(address(0), networkBurst)
	for i := 1; i <= 2*networkCapacity; i++ {
		if i == networkCapacity && l.allows(address(0)) {
			t.Errorf("the first network is forgotten after %d others", i-1)
		}
		l.charge(address(i), 1)
		if n := l.networks.Len(); n > 2*networkCapacity {
			t.Fatalf("%d networks are in the table", n)
		}
	}
	if !l.allows(address(0)) {
		t.Error("the first network is still known")
	}
}

// Failed searches take about a quarter of a processor, whatever the length of
// the hellos: a long hello costs as much as the short ones that take as long.
func TestLongHellosAreFewer(t *testing.T) {
	searches := func(length int) (n int) {
		s := New()
		i := s.NewIndex(entriesOf(0, 1000, mtproxy.FakeTLS, "example.com"))
		now := time.Now()
		s.costs.now = func() time.Time { return now }
		for k := range 20000 {
			q := Query{FakeTLS: true, ServerName: "example.com", Length: length}
			s.Find(i, address(k), q, func(*mtproxy.KeySet) int { n++; return -1 })
		}
		return n
	}
	if usual, longest := searches(517), searches(16<<10); longest*10 > usual || longest == 0 {
		t.Errorf("%d hellos of 517 bytes and %d of 16 KiB were searched for", usual, longest)
	}
}

// Failed searches at the same time cost no more than one after the other, and
// there are no more of them than processors.
func TestSearchesAtTheSameTimeShareTheBudget(t *testing.T) {
	s := New()
	i := s.NewIndex(entriesOf(0, 10000, mtproxy.FakeTLS, "example.com"))
	now := time.Now()
	s.costs.now = func() time.Time { return now }
	var searches, together, most atomic.Int64
	var running sync.WaitGroup
	q := Query{FakeTLS: true, ServerName: "example.com", Length: 517}
	for range 1000 {
		running.Go(func() {
			s.Find(i, address(1), q, func(*mtproxy.KeySet) int {
				searches.Add(1)
				most.Store(max(most.Load(), together.Add(1)))
				time.Sleep(time.Millisecond)
				together.Add(-1)
				return -1
			})
		})
	}
	running.Wait()
	processors := int64(runtime.GOMAXPROCS(0))
	if allowed := int64(networkBurst/cost(q, 10000)) + processors; searches.Load() > allowed {
		t.Errorf("%d searches, want about %d", searches.Load(), allowed)
	}
	if most.Load() > processors {
		t.Errorf("%d at the same time", most.Load())
	}
}
