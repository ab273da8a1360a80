package keysearch

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
)

// For a client of a new address all 10,000 keys are tried until one fits, in dd
// and in ee, and before them those of the latest newcomers. For one of a known
// address, only the keys that were used from there are.
func TestEveryClientIsFoundAmongTenThousand(t *testing.T) {
	const n = 10000
	for mode, firstOf := range map[string]func(i int) []byte{
		"dd": func(i int) []byte { return initOf(t, keyOf(i), frame.PaddedIntermediate) },
		"ee": func(i int) []byte { return helloOf(t, keyOf(i), "a.example") },
	} {
		s := newTestServer(entriesOf(0, n, mtproxy.FakeTLS, "a.example"))
		if mode == "dd" {
			s = newTestServer(entriesOf(0, n, mtproxy.Padded, ""))
		}
		for k, i := range []int{0, 15, 16, 4999, n - 1} {
			if entry, tried := s.accept(address(k), firstOf(i)); entry != i || tried < k+i+1 || tried > k+n {
				t.Errorf("%s: client %d is found as %d, %d keys tried", mode, i, entry, tried)
			}
			if entry, tried := s.accept(address(k), firstOf(i)); entry != i || tried != 1 {
				t.Errorf("%s: client %d returns and is found as %d, %d keys tried", mode, i, entry, tried)
			}
		}
		if level := s.queue.limits.total.level; level != 0 {
			t.Errorf("%s: successful searches cost %v", mode, level)
		}
		if entry, tried := s.accept(address(99), firstOf(n)); entry != -1 || tried < n {
			t.Errorf("%s: a client without a secret is found as %d, %d keys tried", mode, entry, tried)
		}
	}
}

// An SNI that few secrets have narrows the search down, even if the budget is
// spent.
func TestSNIWithFewSecretsIsSearchedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(append(entriesOf(0, 1000, mtproxy.FakeTLS, "a.example"), entriesOf(1000, 3, mtproxy.FakeTLS, "b.example")...))
		s.queue.limits.charge(time.Hour, time.Now())
		start := time.Now()
		for i := range 3 {
			if entry, tried := s.accept(address(1), helloOf(t, keyOf(1000+i), "b.example")); entry != 1000+i || tried != 3 {
				t.Errorf("client %d is found as %d, %d keys tried", 1000+i, entry, tried)
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the searches took %v", waited)
		}
		if entry, tried := s.accept(address(1), helloOf(t, keyOf(7), "a.example")); entry != -1 || tried != 0 || s.skipped != 1 {
			t.Errorf("a client of the large domain is found as %d, %d keys tried", entry, tried)
		}
		if entry, tried := s.accept(address(2), helloOf(t, keyOf(7), "c.example")); entry != -1 || tried != 0 || s.skipped != 1 {
			t.Errorf("a client with an unknown SNI is found as %d, %d keys tried", entry, tried)
		}
	})
}

// Host names match in upper and lower case, in the operator's configuration and
// in the client's hello; among few secrets, among many, and at an address that
// is remembered.
func TestSNIMatchesInAnyCase(t *testing.T) {
	for _, n := range []int{1, 100} {
		s := newTestServer(entriesOf(0, n, mtproxy.FakeTLS, "Site.Example"))
		for range 2 {
			for _, name := range []string{"site.example", "Site.Example", "SITE.example"} {
				if entry, _ := s.accept(address(1), helloOf(t, keyOf(n-1), name)); entry != n-1 {
					t.Errorf("of %d, the client with SNI %s is found as %d", n, name, entry)
				}
			}
		}
	}
}

// The result depends on the client's secret and on what it sent, and not on
// other clients of its address: for plain, dd and ee secrets, several domains
// and none, all in one index.
func TestResultsDoNotDependOnTheMemory(t *testing.T) {
	const each = fewSecrets + 6
	entries := slices.Concat(
		entriesOf(0, each, mtproxy.Plain, ""),
		entriesOf(each, each, mtproxy.Padded, ""),
		entriesOf(2*each, each, mtproxy.FakeTLS, "a.example"),
		entriesOf(3*each, 3, mtproxy.FakeTLS, "b.example"),
	)
	withoutFakeTLS := func(p frame.Protocol) func(i int) []byte {
		return func(i int) []byte { return initOf(t, keyOf(i), p) }
	}
	withSNI := func(domain string) func(i int) []byte {
		return func(i int) []byte { return helloOf(t, keyOf(i), domain) }
	}
	const plain, padded, a, b = 0, each, 2 * each, 3 * each // the first entry of each kind
	for name, c := range map[string]struct {
		first func(i int) []byte
		found []int // the first entries of these kinds, and of no other
	}{
		"classic":         {withoutFakeTLS(frame.Abridged), []int{plain, padded}}, // the caller checks the mode
		"dd":              {withoutFakeTLS(frame.PaddedIntermediate), []int{plain, padded}},
		"ee, a.example":   {withSNI("a.example"), []int{plain, padded, a}},
		"ee, b.example":   {withSNI("b.example"), []int{plain, padded, b}},
		"ee, c.example":   {withSNI("c.example"), []int{plain, padded}},
		"ee, without SNI": {func(i int) []byte { return helloWithoutSNI(t, keyOf(i)) }, []int{plain, padded, a, b}},
	} {
		s := newTestServer(entries)
		for _, kind := range []int{plain, padded, a, b} {
			i, want := kind+1, -1
			if slices.Contains(c.found, kind) {
				want = i
			}
			first := c.first(i)
			for k, from := range []netip.Addr{address(i), address(i), address(1000)} {
				if entry, _ := s.accept(from, first); entry != want {
					t.Errorf("%s: client %d is found as %d in attempt %d, want %d", name, i, entry, k+1, want)
				}
			}
		}
	}
}

// Secrets of several domains may share a key. A hello without SNI fits all of
// them, and the first one is found.
func TestFirstOfSeveralSecretsWithOneKeyIsFound(t *testing.T) {
	for _, others := range []int{0, 100} {
		entries := slices.Concat(
			entriesOf(1, others, mtproxy.FakeTLS, "a.example"),
			entriesOf(0, 1, mtproxy.FakeTLS, "b.example"), entriesOf(0, 1, mtproxy.FakeTLS, "c.example"),
			entriesOf(0, 1, mtproxy.Padded, ""), entriesOf(0, 1, mtproxy.FakeTLS, "d.example"),
		)
		s := newTestServer(entries)
		if entry, _ := s.accept(address(1), helloWithoutSNI(t, keyOf(0))); entry != others {
			t.Errorf("among %d others, entry %d is found without SNI, want %d", others, entry, others)
		}
		for sni, want := range map[string]int{"c.example": others + 1, "d.example": others + 3, "e.example": others + 2} {
			if entry, _ := s.accept(address(2), helloOf(t, keyOf(0), sni)); entry != want {
				t.Errorf("among %d others, entry %d is found with SNI %s, want %d", others, entry, sni, want)
			}
		}
	}
}

// benchmarkFind searches for the last of 10,000 entries, in turn: more of them
// than are remembered of the latest newcomers.
func benchmarkFind(b *testing.B, from func(i int) netip.Addr) {
	const n, last = 10000, 2 * secretsPerAddress
	dd := func(i int) []byte { return initOf(b, keyOf(i), frame.PaddedIntermediate) }
	ee := func(i int) []byte { return helloOf(b, keyOf(i), "a.example") }
	for _, c := range []struct {
		name    string
		entries []Entry
		first   func(i int) []byte
	}{
		{"dd", entriesOf(0, n, mtproxy.Padded, ""), dd},
		{"ee", entriesOf(0, n, mtproxy.FakeTLS, "a.example"), ee},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newTestServer(c.entries)
			var clients [last][]byte
			for k := range clients {
				clients[k] = c.first(n - last + k)
				s.accept(from(k), clients[k])
			}
			i := 0
			for b.Loop() {
				i++
				if entry, _ := s.accept(from(last+i), clients[i%last]); entry != n-last+i%last {
					b.Fatal(entry)
				}
			}
		})
	}
}

// The search for a client of a new address: at most 4 ms for dd and 15 ms for
// ee on a slow core.
func BenchmarkFirstContact10000(b *testing.B) { benchmarkFind(b, address) }

// The search for a client of a known address: at most 0.5 ms.
func BenchmarkReturningAddress(b *testing.B) {
	benchmarkFind(b, func(i int) netip.Addr { return address(i % (2 * secretsPerAddress)) })
}
