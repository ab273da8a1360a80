package netlist

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func read(t *testing.T, text string) *List {
	t.Helper()
	l, err := Read("list", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A netset of FireHOL and a plain list are read: comments, single addresses, networks
// of both families and ranges.
func TestNetsetsAreRead(t *testing.T) {
	l := read(t, "\ufeff# firehol_example\n#\n# Maintainer : example\n192.0.2.1\n198.51.100.0/24 ; SBL1\n\n2001:db8::/32\r\n"+
		"203.0.113.7-203.0.113.99 # a range\n::ffff:100.64.0.0/106\n10.1.2.3/8\n2001:db9::5 - 2001:db9::6\n")
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "192.0.2.2": false, "::ffff:192.0.2.1": true,
		"198.51.100.255": true, "198.51.101.0": false,
		"2001:db8:ffff::1": true, "2001:db7::1": false, "2001:db8::1%eth0": true,
		"203.0.113.6": false, "203.0.113.7": true, "203.0.113.99": true, "203.0.113.100": false,
		"100.64.0.1": true, "100.127.255.255": true, "100.128.0.0": false, "10.200.0.1": true,
		"2001:db9::4": false, "2001:db9::5": true, "2001:db9::6": true, "2001:db9::7": false,
	} {
		if got := l.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Contains(%s) = %v, want %v", addr, got, want)
		}
	}
	if l.Contains(netip.Addr{}) || (*List)(nil).Contains(netip.MustParseAddr("192.0.2.1")) {
		t.Error("an invalid address, or the empty list, contains something")
	}
}

// An error names the file, the line and the column.
func TestErrorsNameFileAndLine(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1\n\n  example.com\n":      `list:3:3: "example.com" is no address`,
		"192.0.2.0/33":                      "list:1:1: ",
		"192.0.2.9-192.0.2.1":               "list:1:1: the range ends before it begins",
		"192.0.2.9-2001:db8::1":             "list:1:1: the ends of the range are of different families",
		"fe80::1%eth0":                      "list:1:1: ",
		"# x\n" + strings.Repeat("1", 5000): "list:2:1: the line has more than 4096 bytes",
		"1.2.3.4 5.6.7.8":                   "list:1:1: ",
	} {
		_, err := Read("list", strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: error %v, want %s", text, err, want)
		}
		var line *LineError
		if !errors.As(err, &line) {
			t.Errorf("%.20q: error %T, want a *LineError", text, err)
		}
	}
}

// All lines that are wrong are reported, up to a limit.
func TestAllLinesAreReported(t *testing.T) {
	_, err := Read("list", strings.NewReader("x\n192.0.2.1\n\u00e9 y # z\n"))
	if err == nil || !strings.Contains(err.Error(), "list:1:1: ") || !strings.Contains(err.Error(), "\nlist:3:1: ") {
		t.Error(err)
	}
	_, err = Read("list", strings.NewReader(strings.Repeat("x\n", 1000)))
	if err == nil || strings.Count(err.Error(), "\n") != maxLineErrors || !strings.Contains(err.Error(), "not read") {
		t.Error(err)
	}
}

// A file that is too long is an error, and so is one that cannot be opened; Load tells
// all of them.
func TestFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	long, good := filepath.Join(dir, "long"), filepath.Join(dir, "good")
	if err := os.WriteFile(long, []byte(strings.Repeat("# 34567\n", MaxFile/8+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(good, []byte("192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(os.ReadFile, good, long, filepath.Join(dir, "missing"))
	if err == nil || !strings.Contains(err.Error(), "more than 32 MiB") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if l, err := Load(os.ReadFile, good, good); err != nil || l.Len() != 1 {
		t.Errorf("%d networks, %v", l.Len(), err)
	}
}

// A range is exactly its addresses: checked against a comparison for random ranges.
func TestRangesAreExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		a, b := byte(random.IntN(256)), byte(random.IntN(256))
		if a > b {
			a, b = b, a
		}
		l := read(t, fmt.Sprintf("192.0.2.%d-192.0.2.%d\n2001:db8::%x-2001:db8::%x\n", a, b, a, b))
		for i := range 256 {
			v4, v6 := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i))
			want := i >= int(a) && i <= int(b)
			if l.Contains(v4) != want || l.Contains(v6) != want {
				t.Fatalf("%d-%d: %d is in: %v and %v, want %v", a, b, i, l.Contains(v4), l.Contains(v6), want)
			}
		}
	}
	if l := read(t, "0.0.0.0-255.255.255.255\n::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n"); l.Len() != 2 {
		t.Errorf("%d networks for all addresses, want 2", l.Len())
	}
}

// The block list wins over the allow list, without lists every address is permitted,
// and what is refused is counted by its cause.
func TestAccessCountsByCause(t *testing.T) {
	var a Access
	addr := netip.MustParseAddr
	if !a.Permits(addr("192.0.2.1")) || !(*Access)(nil).Permits(addr("192.0.2.1")) {
		t.Error("an address is refused without lists")
	}
	a.Set(read(t, "192.0.2.0/24"), read(t, "192.0.2.1"))
	for text, want := range map[string]bool{"192.0.2.1": false, "192.0.2.2": true, "::ffff:192.0.2.1": false, "198.51.100.1": false} {
		if got := a.Permits(addr(text)); got != want {
			t.Errorf("Permits(%s) = %v", text, got)
		}
	}
	if a.Permits(netip.Addr{}) {
		t.Error("a client without an address is in the allow list")
	}
	if c, want := a.Counts(), (Counts{Blocked: 2, NotAllowed: 2, Allow: 1, Block: 1}); c != want {
		t.Errorf("counts %+v, want %+v", c, want)
	}
	a.Set(nil, nil)
	if !a.Permits(addr("198.51.100.1")) || a.Counts().Allow != -1 {
		t.Error("an address is refused after the lists are gone")
	}
}

// Lists are replaced while addresses are looked up: each lookup sees one pair of lists.
// The race detector watches.
func TestListsAreSwappedDuringLookups(t *testing.T) {
	var a Access
	even, odd := New(netip.MustParsePrefix("192.0.2.0/24")), New(netip.MustParsePrefix("198.51.100.0/24"))
	a.Set(even, odd)
	addr := netip.MustParseAddr("192.0.2.9")
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			for i := range 5000 {
				if i%8 == 0 {
					a.Set(even, odd)
				}
				if !a.Permits(addr) {
					t.Error("the address is refused, and both pairs permit it")
					return
				}
				a.Set(nil, odd)
			}
		})
	}
	done.Wait()
}

func randomList(n int) (*List, []netip.Addr) {
	random := rand.New(rand.NewPCG(3, 4))
	l := new(List)
	var addrs []netip.Addr
	for l.Len() < n {
		var b [4]byte
		copy(b[:], []byte{byte(random.IntN(224)), byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))})
		l.add(netip.PrefixFrom(netip.AddrFrom4(b), 16+random.IntN(17)))
		b[2] ^= byte(random.IntN(4))
		addrs = append(addrs, netip.AddrFrom4(b))
	}
	return l, addrs
}

// A lookup allocates nothing.
func TestLookupsDoNotAllocate(t *testing.T) {
	var a Access
	l, addrs := randomList(1000)
	a.Set(nil, l)
	if n := testing.AllocsPerRun(100, func() { a.Permits(addrs[7]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPermits100000(b *testing.B) {
	var a Access
	l, addrs := randomList(100_000)
	a.Set(nil, l)
	b.ResetTimer()
	for i := range b.N {
		a.Permits(addrs[i%len(addrs)])
	}
}
