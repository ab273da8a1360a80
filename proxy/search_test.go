package proxy

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/obfuscation"
)

// crowd is a search among so many users of one domain.
func crowd(t *testing.T, users int) *search {
	all := make([]User, users)
	for i := range all {
		secret, err := obfuscation.NewSecret(nil, obfuscation.FakeTLS, "example.com")
		if err != nil {
			t.Fatal(err)
		}
		all[i].Secret = secret
	}
	s := &search{exceeded: func() {}}
	s.prepare(all, AllModes)
	return s
}

// address is the i-th of many networks.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// "All strangers together may take about a quarter of a processor", however
// long the hellos are that they send: the longest is worth as many of the
// usual ones as it costs.
func TestLongHellosAreFewer(t *testing.T) {
	searches := func(length int) (n int) {
		s := crowd(t, 1000)
		now := time.Now()
		s.strange.now = func() time.Time { return now }
		for i := range 2000 {
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
	s := crowd(t, 10000)
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
