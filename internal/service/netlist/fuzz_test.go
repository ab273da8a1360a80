package netlist

import (
	"net/netip"
	"strings"
	"testing"
)

// What Read accepts has the first and the last address of each line in it, and nothing
// in front of a lone line's first one.
func FuzzRead(f *testing.F) {
	f.Add("192.0.2.1\n198.51.100.0/24 # comment\n2001:db8::/32\n")
	f.Add("203.0.113.7-203.0.113.99\n::1-::ffff\n; only a comment\n")
	f.Add("::ffff:192.0.2.0/120")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Read("list", strings.NewReader(text))
		if err != nil {
			return
		}
		if first, last, ok := parseRange(strings.TrimSpace(text)); ok {
			if !l.Contains(first) || !l.Contains(last) || l.Contains(first.Prev()) || l.Contains(last.Next()) {
				t.Errorf("%q: the range is not exact", text)
			}
		}
		for line := range strings.Lines(text) {
			if addr, err := netip.ParseAddr(strings.TrimSpace(line)); err == nil && !l.Contains(addr) {
				t.Errorf("%q: %v is missing", text, addr)
			}
		}
	})
}
