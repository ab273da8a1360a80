package keysearch

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// attack searches n times at once, without a match, for each of so many networks
// until stop is called.
func (s *timedSearch) attack(t *testing.T, networks, n int, q Query) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range networks {
		for range n {
			running.Go(func() {
				for ctx.Err() == nil {
					s.fail(ctx, address(1<<16+i<<8), q)
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// While networks in debt have spent the budget and fill the queue, a newcomer is
// searched for at once: it waits for no more than the slices that are under way.
func TestNetworkWithoutDebtComesFirst(t *testing.T) {
	for _, perUnit := range []time.Duration{13, 25, 40, 300} {
		for _, q := range []Query{initQuery, helloQuery, longHelloQuery} {
			synctest.Test(t, func(t *testing.T) {
				s := newTimedSearch(Config{}, perUnit)
				defer s.attack(t, 16, 8, q)()
				time.Sleep(4 * time.Second)
				for i := range 10 {
					start := time.Now()
					entry, outcome := s.find(t.Context(), address(i<<8), helloQuery, 800*i)
					if entry != 800*i || outcome != Found {
						t.Errorf("%v ns: newcomer %d is found as %d: %v", perUnit, i, entry, outcome)
					}
					slice := max(2*sliceTime, 2*s.cost(q, minSlice))
					want := s.cost(helloQuery, 800*i+64)
					if took := time.Since(start); took > want+want/4+4*slice {
						t.Errorf("%v ns: newcomer %d took %v, of which its search %v", perUnit, i, took, want)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
	}
}

// Of two networks without debt, the one with the shorter hello comes first: a
// long one pays ahead.
func TestShortHellosComeBeforeLongOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 300)
		s.queue.free = 1
		var long atomic.Int64
		for i := range 10 {
			go func() {
				s.fail(t.Context(), address(1000+i<<8), longHelloQuery)
				long.Add(1)
			}()
		}
		time.Sleep(50 * time.Millisecond)
		for i := range 5 {
			if outcome := s.fail(t.Context(), address(i<<8), helloQuery); outcome != NoMatch || long.Load() != 0 {
				t.Errorf("short hello %d: %v, after %d long ones", i, outcome, long.Load())
			}
		}
		time.Sleep(time.Minute)
	})
}

// So it is among searches that have not begun.
func TestShortHellosStartBeforeLongOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 300)
		s.queue.free = 1
		s.spend(s.queue.limits.burst() + 500*time.Millisecond)
		for i := range 10 {
			go s.fail(t.Context(), address(1000+i<<8), longHelloQuery)
		}
		time.Sleep(10 * time.Millisecond)
		outcome := s.fail(t.Context(), address(1), helloQuery)
		if took, want := time.Duration(s.took.Load()), s.cost(helloQuery, 10000); outcome != NoMatch || took != want {
			t.Errorf("%v, after searches of %v, of which %v are its own", outcome, took, want)
		}
		time.Sleep(time.Minute)
	})
}

// Searches of one network come in the order of their arrival.
func TestSearchesOfANetworkAreFirstInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{MaxWait: time.Hour}, 25)
		s.queue.free = 1
		var last atomic.Int64
		for i := range 100 {
			go func() {
				s.fail(t.Context(), address(1), helloQuery)
				if before := last.Swap(int64(i)); before > int64(i) {
					t.Errorf("search %d ended before search %d", before, i)
				}
			}()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Minute)
		if last.Load() != 99 {
			t.Errorf("search %d was the last to end", last.Load())
		}
	})
}

// Nothing waits while there is budget: not a network in debt either, and behind a
// shared address valid clients are found beside wrong hellos.
func TestNetworkInDebtIsServedWhileThereIsBudget(t *testing.T) {
	for _, perUnit := range []time.Duration{13, 25, 40} {
		synctest.Test(t, func(t *testing.T) {
			s := newTimedSearch(Config{}, perUnit)
			shared := address(1)
			go func() {
				for range 20 * 80 { // 20 wrong hellos a second
					go s.fail(t.Context(), shared, helloQuery)
					time.Sleep(50 * time.Millisecond)
				}
			}()
			defer time.Sleep(time.Minute) // until all have ended
			time.Sleep(time.Minute)
			for i := range 100 {
				start := time.Now()
				entry, outcome := s.find(t.Context(), shared, helloQuery, 97*i)
				if took := time.Since(start); entry != 97*i || outcome != Found || took > 500*time.Millisecond {
					t.Errorf("%v ns: client %d is found as %d: %v, after %v", perUnit, i, entry, outcome, took)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

// Behind a shared address with more wrong hellos than the budget has time for,
// valid clients get their part of the searches: at once, or within two seconds.
// The others do not wait.
func TestClientsBehindASharedAddressGetTheirPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 330)
		shared := address(1)
		var w, wrong waits
		var running sync.WaitGroup
		const n = 600
		random, mine := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4))
		running.Go(func() {
			for range 7 * n {
				running.Go(func() {
					start := time.Now()
					wrong.note(s.fail(t.Context(), shared, helloQuery) == NoMatch, time.Since(start))
				})
				time.Sleep(time.Duration(random.ExpFloat64() * float64(50*time.Millisecond)))
			}
		})
		for i := range n {
			running.Go(func() {
				start := time.Now()
				_, outcome := s.find(t.Context(), shared, helloQuery, i*7919%10000)
				wait := time.Since(start)
				w.note(outcome == Found, wait)
				if outcome != Found && wait > newUserPatience {
					t.Errorf("a client that is not found waited for %v", wait)
				}
			})
			time.Sleep(time.Duration(mine.ExpFloat64() * float64(350*time.Millisecond)))
		}
		running.Wait()
		if valid, others := w.share(), wrong.share(); valid < 0.2 || valid < others*3/4 {
			t.Errorf("%.0f %% of the clients are served within %v, and %.0f %% of the others", 100*valid, newUserPatience, 100*others)
		}
		if longest := w.quantile(1); longest > newUserPatience {
			t.Errorf("a client was served after %v", longest)
		}
	})
}

// A search leaves the queue with its context, and within a slice if it has begun.
// Then it is not searched for any more.
func TestSearchLeavesWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{MaxWait: time.Hour}, 300)
		slice := s.cost(longHelloQuery, minSlice)
		start := time.Now()
		if outcome := s.failFor(t, address(1), longHelloQuery, 100*time.Millisecond); outcome != Canceled || time.Since(start) > 100*time.Millisecond+slice {
			t.Errorf("a search that runs: %v after %v", outcome, time.Since(start))
		}
		s.spend(time.Hour)
		before := s.took.Load()
		start = time.Now()
		if outcome := s.failFor(t, address(1), longHelloQuery, time.Minute); outcome != Canceled || time.Since(start) != time.Minute {
			t.Errorf("a search that waits: %v after %v", outcome, time.Since(start))
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if outcome := s.fail(ended, address(1), helloQuery); outcome != Canceled {
			t.Errorf("a search that begins with an ended context: %v", outcome)
		}
		time.Sleep(2 * time.Hour)
		if n := s.inQueue(); n != 0 || s.took.Load() != before || s.queue.free != 2 {
			t.Errorf("%d searches are left, and %d slots are free; %v were spent on them", n, s.queue.free, time.Duration(s.took.Load()-before))
		}
	})
}

// A search that waits for longer than MaxWait ends.
func TestSearchesWaitForALimitedTime(t *testing.T) {
	for maxWait, want := range map[time.Duration]time.Duration{0: 2 * time.Second, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newTimedSearch(Config{MaxWait: maxWait}, 25)
			s.spend(time.Hour)
			start := time.Now()
			if outcome := s.fail(t.Context(), address(1), helloQuery); outcome != NotSearched || time.Since(start) != want {
				t.Errorf("%v after %v, want %v", outcome, time.Since(start), want)
			}
			if n := s.inQueue(); n != 0 {
				t.Errorf("%d searches are left", n)
			}
		})
	}
}

// A search that has started in time has as much time again, so that its slices are
// not wasted.
func TestSearchThatStartsLateIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimedSearch(Config{}, 300)
		limit := s.queue.limits.burst() / 2 // for a long hello
		s.spend(limit + 950*time.Millisecond)
		start := time.Now()
		outcome := s.fail(t.Context(), address(1), longHelloQuery)
		if took := time.Since(start); outcome != NoMatch || took < 2500*time.Millisecond {
			t.Errorf("%v after %v", outcome, took)
		}
	})
}

// The queue is bounded. When it is full, one search leaves it for another: that of
// the network, or site, with the most searches and debt.
func TestFullQueueDropsTheSearchesOfTheLargest(t *testing.T) {
	for name, of := range map[string]func(i int) netip.Addr{
		"one network": func(int) netip.Addr { return address(1 << 16) },
		"a site, one a network": func(i int) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 0, byte(i >> 8), byte(i)})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newTimedSearch(Config{MaxWait: time.Hour}, 300)
			s.spend(10 * time.Second) // nothing is searched for
			ctx, cancel := context.WithCancel(t.Context())
			var dropped atomic.Int64
			for i := range 2 * queueLength {
				go func() {
					if s.fail(ctx, of(i), helloQuery) == NotSearched {
						dropped.Add(1)
					}
				}()
			}
			synctest.Wait()
			if n := s.inQueue(); n != queueLength || dropped.Load() != queueLength {
				t.Errorf("%s: %d searches in the queue, %d dropped", name, n, dropped.Load())
			}
			var found atomic.Int64
			const newcomers = 50
			for i := range newcomers {
				go func() {
					if entry, outcome := s.find(t.Context(), address(i<<8), helloQuery, i); entry == i && outcome == Found {
						found.Add(1)
					}
				}()
			}
			synctest.Wait()
			if n := s.inQueue(); n != queueLength || dropped.Load() != queueLength+newcomers {
				t.Errorf("%s: with newcomers %d searches in the queue, %d dropped", name, n, dropped.Load())
			}
			time.Sleep(25 * time.Second)
			cancel()
			synctest.Wait()
			time.Sleep(time.Minute)
			if found.Load() != newcomers {
				t.Errorf("%s: %d of %d newcomers are found", name, found.Load(), newcomers)
			}
		})
	}
}

// There are never more searches at the same time than processors, and the slots
// are all free afterwards, whatever ends a search.
func TestSearchesAtTheSameTimeAreNoMoreThanProcessors(t *testing.T) {
	s := New(Config{Processors: 64, MaxWait: time.Minute})
	i := s.NewIndex(entriesOf(0, 10000, mtproxy.FakeTLS, "a.example"))
	var together, most atomic.Int64
	var running sync.WaitGroup
	for k := range 500 {
		running.Go(func() {
			defer func() { recover() }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(k)*time.Millisecond)
			defer cancel()
			s.Find(ctx, i, address(k%20), helloQuery, func(set *mtproxy.KeySet) int {
				if set.Len() < minSlice {
					return -1 // remembered ones, which are tried at once
				}
				now := together.Add(1)
				defer together.Add(-1)
				for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
				}
				time.Sleep(50 * time.Microsecond)
				switch k % 10 {
				case 0:
					panic("a panic is not a leak")
				case 1:
					return 5
				}
				return -1
			})
		})
	}
	running.Wait()
	processors := runtime.GOMAXPROCS(0)
	if most.Load() > int64(processors) {
		t.Errorf("%d at the same time", most.Load())
	}
	if s.queue.free != processors || len(s.queue.jobs) != 0 {
		t.Errorf("%d slots are free and %d searches left", s.queue.free, len(s.queue.jobs))
	}
	for k := range 20 {
		if network, site := s.queue.limits.accounts(address(k)); network.queued != 0 || site.queued != 0 {
			t.Errorf("%v and %v are queued for a network and its site", network.queued, site.queued)
		}
	}
}
