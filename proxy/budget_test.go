package proxy

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// besieged is a search among 10,000 users on a clock that stands still.
type besieged struct {
	search
	clock time.Time
	cut   int
}

func newBesieged() *besieged {
	b := &besieged{clock: time.Unix(1e9, 0)}
	b.prepare(crowd(0, 10000, mtproxy.Plain, ""), mtproxy.AllModes)
	b.strange.now = func() time.Time { return b.clock }
	return b
}

// stranger looks for somebody who is nobody, and says whether all were tried.
func (b *besieged) stranger(from netip.Addr, q mtwire.SecretQuery) (searched bool) {
	_, all := b.find(from, q, func(*mtwire.SecretSet) int { searched = true; return -1 })
	if all != searched {
		panic("a search says of itself what it is not")
	}
	if !all {
		b.cut++
	}
	return searched
}

// strangers come from one address until one is not searched for.
func (b *besieged) strangers(from netip.Addr, q mtwire.SecretQuery) (n int) {
	for n < 1e6 && b.stranger(from, q) {
		n++
	}
	return n
}

// user looks for the given user.
func (b *besieged) user(from netip.Addr, i int) (place int) {
	place, all := b.find(from, bare, func(set *mtwire.SecretSet) int {
		if set.Len() == 10000 {
			return i
		}
		return 0 // the one that was remembered
	})
	if !all {
		b.cut++
	}
	return place
}

var (
	bare      = mtwire.SecretQuery{Length: obfuscation.InitLength}
	withTLS   = mtwire.SecretQuery{FakeTLS: true, ServerName: "a.example", Length: 517}
	longHello = mtwire.SecretQuery{FakeTLS: true, ServerName: "a.example", Length: 10 * 1024}
)

// "Strangers from one network are cut off after its share, others still get
// searched", and "time refills it".
func TestNetworkHasAShareOfTheBudget(t *testing.T) {
	for name, c := range map[string]struct {
		q     mtwire.SecretQuery
		cost  int
		a, b  string
		other string
	}{
		"dd":           {bare, 10000, "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"},
		"ee":           {withTLS, 30000, "192.0.2.1", "192.0.2.1", "192.0.2.2"},
		"a long hello": {longHello, 410000, "192.0.2.1", "192.0.2.1", "192.0.2.2"},
		"IPv6":         {bare, 10000, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"},
	} {
		b := newBesieged()
		a, again, other := netip.MustParseAddr(c.a), netip.MustParseAddr(c.b), netip.MustParseAddr(c.other)
		share := (networkBurst + c.cost - 1) / c.cost
		if n := b.strangers(a, c.q); n != share || b.cut != 1 {
			t.Errorf("%s: %d strangers were searched for, want %d; %d were not", name, n, share, b.cut)
		}
		if b.stranger(again, c.q) {
			t.Errorf("%s: the same network is searched for under another address", name)
		}
		if !b.stranger(other, c.q) {
			t.Errorf("%s: another network is not searched for", name)
		}
		b.clock = b.clock.Add(time.Second)
		refilled := (networkRate + c.cost - 1) / c.cost
		if n := b.strangers(a, c.q); n < refilled-1 || n > refilled+1 {
			t.Errorf("%s: %d strangers are searched for after a second, want %d", name, n, refilled)
		}
		b.clock = b.clock.Add(time.Hour)
		if n := b.strangers(a, c.q); n != share {
			t.Errorf("%s: %d strangers are searched for after an hour, want %d", name, n, share)
		}
	}
}

// "All together after the whole budget", "returning users pass meanwhile",
// "successes cost nothing".
func TestReturningUsersPassWhileTheBudgetIsSpent(t *testing.T) {
	b := newBesieged()
	for i := range 1000 {
		if b.user(address(i), i) != i {
			t.Fatalf("user %d is not found", i)
		}
	}
	const first = 1 << 20 // address of a stranger
	n := 0
	for ; b.stranger(address(first+n), bare); n++ {
	}
	if want := budgetBurst / 10000; n != want {
		t.Errorf("%d strangers from as many networks were searched for, want %d", n, want)
	}
	for i := range 1000 {
		if b.user(address(i), i) != i {
			t.Fatalf("user %d does not come back", i)
		}
	}
	if b.cut != 1 {
		t.Errorf("%d searches were cut off", b.cut)
	}
	if b.user(address(first-1), 5) != -1 || b.cut != 2 {
		t.Error("a new address is searched for nevertheless")
	}
	b.clock = b.clock.Add(time.Second)
	if b.user(address(first-1), 5) != 5 {
		t.Error("a new address is not searched for after a second")
	}
}

// "Memory bounded": a network that was forgotten begins anew.
func TestBudgetForgetsTheOldestNetworks(t *testing.T) {
	b := budget{now: func() time.Time { return time.Unix(1e9, 0) }}
	b.charge(address(0), networkBurst)
	for i := 1; i <= 2*budgetNetworks; i++ {
		if i == budgetNetworks && b.allows(address(0)) {
			t.Errorf("the first network is forgotten after %d others", i-1)
		}
		b.charge(address(i), 1)
		if len(b.young) > budgetNetworks || len(b.old) > budgetNetworks {
			t.Fatalf("%d and %d are remembered", len(b.young), len(b.old))
		}
	}
	if !b.allows(address(0)) {
		t.Error("the first network is still known")
	}
}

// "All strangers together may take about a quarter of a processor", however
// long the hellos are that they send: the longest is worth as many of the
// usual ones as it costs.
func TestLongHellosAreFewer(t *testing.T) {
	searches := func(length int) (n int) {
		var s search
		s.prepare(crowd(0, 1000, mtproxy.FakeTLS, "example.com"), mtproxy.AllModes)
		now := time.Now()
		s.strange.now = func() time.Time { return now }
		for i := range 20000 {
			q := mtwire.SecretQuery{FakeTLS: true, ServerName: "example.com", Length: length}
			s.find(address(i), q, func(*mtwire.SecretSet) int { n++; return -1 })
		}
		return n
	}
	if usual, longest := searches(517), searches(16<<10); longest*10 > usual || longest == 0 {
		t.Errorf("%d hellos of 517 bytes and %d of 16 KiB were searched for", usual, longest)
	}
}

// Strangers who come at the same time cost no more than those who come one
// after the other.
func TestStrangersAtTheSameTimeShareTheBudget(t *testing.T) {
	var s search
	s.prepare(crowd(0, 10000, mtproxy.FakeTLS, "example.com"), mtproxy.AllModes)
	now := time.Now()
	s.strange.now = func() time.Time { return now }
	var searches, together, most atomic.Int64
	var running sync.WaitGroup
	q := mtwire.SecretQuery{FakeTLS: true, ServerName: "example.com", Length: 517}
	for range 1000 {
		running.Go(func() {
			s.find(address(1), q, func(*mtwire.SecretSet) int {
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
