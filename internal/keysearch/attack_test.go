package keysearch

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtproxy"
)

// Attacks on a proxy with 10,000 secrets: hellos without a secret, 64 a second.
const (
	attackRate    = 64
	attackSources = 16

	// newUserRate is how many users a second come for the first time meanwhile,
	// and are to be served within newUserPatience.
	newUserRate     = 10
	newUserPatience = 2 * time.Second
)

// newUser returns the address of the i-th user that comes for the first time.
func newUser(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}) }

// attacker returns the address that the attacker's i-th hello comes from.
func attacker(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(i % attackSources), 1}) }

// waits are how long users have waited, without those that were not served.
type waits struct {
	mu     sync.Mutex
	served []time.Duration
	users  int
}

func (w *waits) note(served bool, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users++
	if served {
		w.served = append(w.served, wait)
	}
}

// share returns the share of the users that were served within newUserPatience.
func (w *waits) share() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, wait := range w.served {
		if wait <= newUserPatience {
			n++
		}
	}
	return float64(n) / float64(w.users)
}

// quantile returns the longest wait of that share of the users that were served.
func (w *waits) quantile(share float64) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.served)
	if len(w.served) == 0 {
		return 0
	}
	return w.served[int(share*float64(len(w.served)-1))]
}

// processors are classes of processors, by the nanoseconds for one block of a
// hello under one key: see BenchmarkNewUsersDuringAttacks.
var processors = map[string]time.Duration{"AVX-512": 13, "AVX2": 25, "SHA": 40, "no vector units": 330}

// Of the users that come for the first time during an attack, 95 % are served
// within two seconds, on every class of processors: a simulation in a bubble's
// time, on two processors.
func TestNewUsersAreServedDuringAttacks(t *testing.T) {
	attacks := map[string]struct {
		q    Query
		from func(i int) netip.Addr
	}{
		"16 KiB from 16 addresses": {longHelloQuery, attacker},
		"16 KiB from 16 neighbours of the users": {longHelloQuery, func(i int) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, byte(i % attackSources), 2})
		}},
		"16 KiB from a network of its site each": {longHelloQuery, func(i int) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 0, byte(i >> 8), byte(i)})
		}},
		"16 KiB from a site each": {longHelloQuery, func(i int) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(i >> 8), byte(i)})
		}},
		"a browser's hellos from 16 addresses": {helloQuery, attacker},
	}
	for processor, perUnit := range processors {
		for attack, c := range attacks {
			t.Run(fmt.Sprintf("%s/%s", attack, processor), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newTimedSearch(Config{}, perUnit)
					var w waits
					var running sync.WaitGroup
					const seconds = 6
					running.Go(func() {
						for i := range attackRate * (seconds + 2) {
							running.Go(func() { s.fail(t.Context(), c.from(i), c.q) })
							time.Sleep(time.Second / attackRate)
						}
					})
					time.Sleep(2 * time.Second)
					for i := range newUserRate * seconds {
						running.Go(func() {
							start := time.Now()
							_, outcome := s.find(t.Context(), newUser(i), helloQuery, i*7919%10000)
							w.note(outcome == Found, time.Since(start))
						})
						time.Sleep(time.Second / newUserRate)
					}
					running.Wait()
					t.Logf("%.1f %% are served within %v, half within %v, 95 %% within %v", 100*w.share(), newUserPatience, w.quantile(0.5), w.quantile(0.95))
					if w.share() < 0.95 {
						t.Errorf("%.1f %% of the new users are served within %v", 100*w.share(), newUserPatience)
					}
				})
			})
		}
	}
}

// BenchmarkNewUsersDuringAttacks measures which part of the new users is served
// within two seconds during an attack, with real hellos among 10,000 secrets; how
// long half and 95 % of those that are served wait; and the processor time of all
// searches and of the benchmark, in processors. One operation is one user; ten come each second, after
// two seconds of attack. The processor's instructions can be switched off:
//
//	go test -c -o keysearch.test ./internal/keysearch
//	for off in '' cpu.avx512f=off cpu.avx512f=off,cpu.avx2=off cpu.avx512f=off,cpu.avx2=off,cpu.sha=off; do
//		GODEBUG=$off ./keysearch.test -test.run '^$' -test.bench NewUsers -test.benchtime 200x
//	done
//
// The last line is for a processor that has neither vector nor SHA instructions.
func BenchmarkNewUsersDuringAttacks(b *testing.B) {
	const secrets = 10000
	index := New(Config{}).NewIndex(entriesOf(0, secrets, mtproxy.FakeTLS, "a.example"))
	var hellos [secrets]*faketls.ClientHello
	parse := func(first []byte) *faketls.ClientHello {
		hello, _, err := faketls.ParseClientHello(first)
		if err != nil {
			b.Fatal(err)
		}
		return &hello
	}
	sameAddress := func(int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }
	for _, c := range []struct {
		name         string
		rate, length int // of the attacker's hellos
		from, user   func(i int) netip.Addr
	}{
		{"no attack", 0, 517, sameAddress, newUser},
		{"16 KiB from 16 addresses", attackRate, 16<<10 + 5, attacker, newUser},
		{"1.8 KB from 16 addresses", attackRate, 1817, attacker, newUser},
		{"1.8 KB from the users' only address", 20, 1817, sameAddress, sameAddress},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := New(Config{Processors: 0.5})
			find := func(from netip.Addr, hello *faketls.ClientHello, length int) Outcome {
				q := Query{FakeTLS: true, ServerName: "a.example", Length: length}
				_, outcome := s.Find(b.Context(), index, from, q, func(set *mtproxy.KeySet) int {
					i, _ := hello.MatchAny(set.Keys())
					return i
				})
				return outcome
			}
			wrong := parse(helloOfLength(b, keyOf(secrets), c.length))
			var running sync.WaitGroup
			used, start, stop := processorTime(), time.Now(), make(chan struct{})
			if c.rate > 0 {
				running.Go(func() {
					each := time.NewTicker(time.Second / time.Duration(c.rate))
					defer each.Stop()
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						case <-each.C:
							running.Go(func() { find(c.from(i), wrong, c.length) })
						}
					}
				})
				time.Sleep(2 * time.Second)
			}
			var w waits
			each := time.NewTicker(time.Second / newUserRate)
			defer each.Stop()
			for i := 0; b.Loop(); i++ {
				<-each.C
				k := i * 7919 % secrets
				if hellos[k] == nil {
					hellos[k] = parse(helloOf(b, keyOf(k), "a.example"))
				}
				running.Go(func() {
					start := time.Now()
					outcome := find(c.user(i), hellos[k], 1817)
					w.note(outcome == Found, time.Since(start))
				})
			}
			close(stop)
			used, elapsed := processorTime()-used, time.Since(start)
			running.Wait()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(100*w.share(), "%served")
			b.ReportMetric(float64(w.quantile(0.5).Microseconds())/1000, "ms-half")
			b.ReportMetric(float64(w.quantile(0.95).Microseconds())/1000, "ms-95%")
			b.ReportMetric(float64(used)/float64(elapsed), "processors")
		})
	}
}
