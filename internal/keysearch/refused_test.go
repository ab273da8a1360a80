package keysearch

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// A key that is refused is searched for, charged and remembered as one that no entry
// has: every other key is tried once. An entry with the same key is found.
func TestRefusedKeysAreAsUnknownOnes(t *testing.T) {
	for _, n := range []int{3, 10000} {
		for _, at := range []int{0, 1, n / 2, n - 1} {
			entries := entriesOf(0, n, mtproxy.Padded, "")
			s := New(Config{})
			index := s.NewIndex(entries)
			tried, refused := 0, 0
			q := Query{Length: 64, Refused: func(entry int) bool {
				refused++
				return entry == at
			}}
			find := func() (int, Outcome) {
				tried = 0
				return s.Find(context.Background(), index, address(1), q, func(set *mtproxy.KeySet) int {
					for i, key := range set.Keys() {
						tried++
						if key == keyOf(at) {
							return i
						}
					}
					return -1
				})
			}
			for range 2 {
				if entry, outcome := find(); entry != -1 || outcome != NoMatch || tried != n {
					t.Errorf("entry %d of %d is found as %d, outcome %d, %d keys tried", at, n, entry, outcome, tried)
				}
			}
			if refused != 2 {
				t.Errorf("asked %d times", refused)
			}
			if limits := &s.queue.limits; n > fewSecrets && (limits.refused.level == 0 || limits.total.level > limits.refused.level/1000) {
				t.Errorf("the searches cost %v, and %v of the refused ones' bucket", limits.total.level, limits.refused.level)
			}
			index = s.NewIndex(append(entries, Entry{mtproxy.Secret{Key: keyOf(at), Domain: "b"}, mtproxy.DD}))
			if entry, outcome := find(); entry != n || outcome != Found {
				t.Errorf("the other entry is found as %d, outcome %d", entry, outcome)
			}
		}
	}
}

// refusedQuery is of the clients of a user that is refused.
var refusedQuery = Query{FakeTLS: true, ServerName: "a.example", Length: helloQuery.Length, Refused: func(int) bool { return true }}

// phone returns the address of the i-th client of a user that is refused.
func phone(i int) netip.Addr { return netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 1}) }

// every calls f in a goroutine each interval, and returns when all calls have.
func every(interval, duration time.Duration, f func(i int)) {
	var calls sync.WaitGroup
	for i := range int(duration / interval) {
		calls.Go(func() { f(i) })
		time.Sleep(interval)
	}
	calls.Wait()
}

// Thousands of clients of a user that is refused leave what there is for failed searches to
// others, whether their addresses are remembered or not: with as many unknown clients as
// one bucket allows, all of these are searched for, and so are new users, without a wait.
func TestRefusedClientsLeaveTheBudgetToOthers(t *testing.T) {
	for name, remembered := range map[string]bool{"remembered": true, "not remembered": false} {
		synctest.Test(t, func(t *testing.T) {
			const duration, load = 30 * time.Second, 0.35 // processors
			s := newTimedSearch(Config{Processors: 0.5}, 13)
			cost := s.cost(helloQuery, 10000)
			interval := time.Duration(float64(cost) / load)
			if remembered {
				for i := range int(duration / interval) {
					s.addresses.remember(phone(i), s.index.ids[5000])
				}
			}
			var skipped, lost atomic.Int64
			var all sync.WaitGroup
			all.Go(func() {
				every(interval, duration, func(i int) {
					if _, outcome := s.find(t.Context(), phone(i), refusedQuery, 5000); outcome == Found {
						t.Error("a refused client is found")
					}
				})
			})
			all.Go(func() {
				every(interval, duration, func(i int) {
					if s.fail(t.Context(), address(i<<8), helloQuery) != NoMatch {
						skipped.Add(1)
					}
				})
			})
			all.Go(func() {
				every(time.Second, duration, func(i int) {
					begin := time.Now()
					if _, outcome := s.find(t.Context(), newUser(i), helloQuery, i); outcome != Found || time.Since(begin) > 500*time.Millisecond {
						lost.Add(1)
					}
				})
			})
			all.Wait()
			if skipped.Load() != 0 || lost.Load() != 0 {
				t.Errorf("%s: %d searches are skipped, %d new users wait", name, skipped.Load(), lost.Load())
			}
		})
	}
}

// An attacker with a secret that is refused takes no more than both buckets: beyond its
// own, its searches count as failed ones.
func TestRefusedSearchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const duration, processors = time.Minute, 0.5
		s := newTimedSearch(Config{Processors: processors}, 100)            // a slow machine: fewer searches in a minute
		interval := time.Duration(float64(s.cost(helloQuery, 10000)) / 1.9) // of two processors
		for i := range int(duration / interval) {
			s.addresses.remember(phone(i), s.index.ids[5000])
		}
		var skipped atomic.Int64
		every(interval, duration, func(i int) {
			if _, outcome := s.find(t.Context(), phone(i), refusedQuery, 5000); outcome == NotSearched {
				skipped.Add(1)
			}
		})
		limit := 2 * processors * (duration + burstTime + 2*defaultMaxWait).Seconds()
		if took := time.Duration(s.took.Load()).Seconds(); took > limit || took < limit*3/4 || skipped.Load() == 0 {
			t.Errorf("they take %.1f s of %v, limit %.1f s, %d are skipped", took, duration, limit, skipped.Load())
		}
	})
}
