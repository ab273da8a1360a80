package keysearch

import (
	"slices"
	"sync"
	"testing"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
)

// A mode that the server does not allow is not searched in.
func TestModesThatAreOffAreNotSearched(t *testing.T) {
	entries := append(entriesOf(0, 3, mtproxy.Plain, ""), entriesOf(3, 3, mtproxy.Padded, "")...)
	i := New(Config{}).NewIndex(withModes(entries, mtproxy.EE))
	if n := len(i.candidates(Query{}).indexes); n != 0 {
		t.Errorf("%d candidates without FakeTLS", n)
	}
	if n := len(i.candidates(Query{FakeTLS: true, ServerName: "x"}).indexes); n != 6 {
		t.Errorf("%d candidates with FakeTLS", n)
	}
}

func TestFakeTLSIsNeededUnlessAnEntryIsUsableWithoutIt(t *testing.T) {
	for _, c := range []struct {
		entries []Entry
		want    bool
	}{
		{nil, true},
		{entriesOf(0, 2, mtproxy.FakeTLS, "a.example"), true},
		{withModes(entriesOf(0, 2, mtproxy.Plain, ""), mtproxy.EE), true},
		{withModes(entriesOf(0, 2, mtproxy.Plain, ""), mtproxy.Classic), false},
		{append(entriesOf(0, 2, mtproxy.FakeTLS, "a.example"), entriesOf(2, 1, mtproxy.Padded, "")...), false},
	} {
		if got := New(Config{}).NewIndex(c.entries).NeedsFakeTLS(); got != c.want {
			t.Errorf("%v: %v, want %v", c.entries, got, c.want)
		}
	}
}

// A new index has other indexes for the same secrets. The addresses of their
// clients stay remembered.
func TestAddressesStayRememberedInANewIndex(t *testing.T) {
	entries := entriesOf(0, 200, mtproxy.Padded, "")
	s := newTestServer(entries)
	first := initOf(t, keyOf(7), frame.PaddedIntermediate)
	s.accept(address(1), first)
	before := s.Index

	moved := slices.Concat(entriesOf(1000, 50, mtproxy.Padded, ""), entries[100:], entries[:100])
	s.Index = s.NewIndex(moved)
	if entry, tried := s.accept(address(1), first); entry != 157 || tried != 1 {
		t.Errorf("in the new index, entry %d is found, %d keys tried", entry, tried)
	}
	s.Index = before
	if entry, tried := s.accept(address(1), first); entry != 7 || tried != 1 {
		t.Errorf("in the older index, entry %d is found, %d keys tried", entry, tried)
	}
}

// A secret that is gone is not tried any more. If it comes back, its addresses
// are forgotten, and its id is not another secret's meanwhile.
func TestSecretsThatAreGoneAreForgotten(t *testing.T) {
	entries := entriesOf(0, 200, mtproxy.Padded, "")
	s := newTestServer(entries)
	gone, kept := initOf(t, keyOf(0), frame.PaddedIntermediate), initOf(t, keyOf(1), frame.PaddedIntermediate)
	for k, first := range [][]byte{gone, kept} {
		s.accept(address(k), first)
		s.accept(address(2), first)
	}
	s.Index = s.NewIndex(append(entriesOf(1000, 1, mtproxy.Padded, ""), entries[1:]...))
	for k := range 3 {
		const want = 201 // all, and before them the kept one: of the address, or the latest newcomer's
		if entry, tried := s.accept(address(k), gone); entry != -1 || tried != want {
			t.Errorf("from address %d, a secret that is gone is found as %d, %d keys tried, want %d", k, entry, tried, want)
		}
		if k > 0 {
			if entry, tried := s.accept(address(k), kept); entry != 1 || tried != 1 {
				t.Errorf("from address %d, a secret that is kept is found as %d, %d keys tried", k, entry, tried)
			}
		}
	}
	s.Index = s.NewIndex(entries)
	// How many of the others are tried with it depends on how long a key takes.
	if entry, tried := s.accept(address(0), gone); entry != 0 || tried < 3 {
		t.Errorf("a secret that is back is found as %d, %d keys tried", entry, tried)
	}
	if entry, tried := s.accept(address(0), gone); entry != 0 || tried != 1 {
		t.Errorf("a secret that is back and remembered is found as %d, %d keys tried", entry, tried)
	}
}

// A secret that is twice in a list has one id. It is remembered as the first of
// the two.
func TestSecretThatIsTwiceInAListIsTheFirst(t *testing.T) {
	entries := entriesOf(0, 100, mtproxy.Padded, "")
	s := newTestServer(append(entries, entries...))
	for range 2 {
		if entry, _ := s.accept(address(1), initOf(t, keyOf(5), frame.PaddedIntermediate)); entry != 5 {
			t.Errorf("entry %d is found", entry)
		}
	}
}

func TestIndexesChangeDuringSearches(t *testing.T) {
	entries := entriesOf(0, 200, mtproxy.Padded, "")
	s := New(Config{})
	var running sync.WaitGroup
	for k := range 4 {
		running.Go(func() {
			for n := range 200 {
				i := s.NewIndex(entries[k:])
				if entry, outcome := s.Find(t.Context(), i, address(n%3), Query{}, func(set *mtproxy.KeySet) int {
					return slices.Index(set.Keys(), keyOf(100))
				}); entry != 100-k || outcome != Found {
					t.Errorf("entry %d is found of an index that has it as %d: %v", entry, 100-k, outcome)
				}
			}
		})
	}
	running.Wait()
}
