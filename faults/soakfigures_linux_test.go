package faults_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"
)

// awaitBase waits until the process has what it had before the attacks.
func (s *soak) awaitBase(before resources) {
	s.t.Helper()
	// A client that has left behind bytes which its data centre does not take keeps
	// its session for the peer timeout, or up to a quarter longer.
	const limit = soakPeerTimeout*5/4 + testTimeout
	for end := time.Now().Add(limit); s.proxy.Stats().Open > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.logOpen()
			s.t.Fatalf("the sessions of all attackers have not ended in %v", limit)
		}
	}
	stats := s.proxy.Stats()
	if stats.Relaying != 0 || stats.Pending != 0 || stats.Fronted != 0 {
		s.t.Errorf("without connections: %+v", stats)
	}
	before.heap += soakHeapSlack - heapSlack
	awaitRelease(s.t, "without attackers", before, idleSlack)
	s.t.Logf("after %d connections: %v", stats.Accepted, measureResources())
}

// logOpen logs the open sessions and all goroutines.
func (s *soak) logOpen() {
	s.t.Helper()
	for session := range s.proxy.Sessions() {
		s.t.Logf("open: %+v", session.Report())
	}
	stacks := make([]byte, 1<<20)
	s.t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
}

// checkCounters compares the counters with the sum of the sessions' reports.
func (s *soak) checkCounters() {
	s.t.Helper()
	stats := s.proxy.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	counted := ended{
		sessions: stats.Accepted, authenticated: stats.Authenticated, unauthenticated: stats.Unauthenticated,
		evicted: stats.Evicted, up: stats.Up, down: stats.Down,
	}
	if s.ended != counted {
		s.t.Errorf("counted: %+v\nreported: %+v", counted, s.ended)
	}
	if n := s.dials.Load(); stats.Accepted > n {
		s.t.Errorf("%d connections were accepted, and %d dialled", stats.Accepted, n)
	}
}

// checkServed fails the test if good clients were not served.
func (s *soak) checkServed() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	long := *soakTime >= soakRound
	for kind, k := range s.good {
		if len(k.times) < k.clients {
			s.t.Errorf("%s: %d of %d were served: %v", kind, len(k.times), k.clients, k.failures)
		}
		if long && float64(k.failed()) > 1+float64(k.clients)*(1-servedAtOnce) {
			s.t.Errorf("%s: %d of %d were not served at the first attempt: %v", kind, k.failed(), k.clients, k.failures)
		}
	}
}

func (s *soak) logFigures() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text strings.Builder
	fmt.Fprintf(&text, "good clients: served, at the first attempt; time to the end of the exchange: median, 95th percentile, longest\n")
	for _, kind := range slices.Sorted(maps.Keys(s.good)) {
		k := s.good[kind]
		slices.Sort(k.times)
		fmt.Fprintf(&text, "  %-20s %d of %d, %.2f%%; %v, %v, %v\n", kind, len(k.times), k.clients,
			100*float64(k.clients-k.failed())/float64(k.clients), k.quantile(0.5), k.quantile(0.95), k.quantile(1))
		for _, err := range k.failures[:min(3, len(k.failures))] {
			fmt.Fprintf(&text, "    failed: %v\n", err)
		}
	}
	fmt.Fprintf(&text, "attacks:")
	for _, kind := range slices.Sorted(maps.Keys(s.attacks)) {
		fmt.Fprintf(&text, " %s %d,", kind, s.attacks[kind])
	}
	fmt.Fprintf(&text, "\nat most at one time: %d open, %d relaying, %d pending, %d fronted\n",
		s.peak.Open, s.peak.Relaying, s.peak.Pending, s.peak.Fronted)
	fmt.Fprintf(&text, "in all: %+v", s.proxy.Stats())
	s.t.Log(text.String())
}

// failed returns how many clients were not served at their first attempt.
func (k *served) failed() int { return k.again + k.clients - len(k.times) }

// quantile returns the time in which a part of the clients was served.
func (k *served) quantile(part float64) time.Duration {
	if len(k.times) == 0 {
		return 0
	}
	return k.times[int(part*float64(len(k.times)-1))].Round(time.Millisecond)
}
