package route

import (
	"fmt"
	"net/netip"
	"strings"
)

// Family is which addresses of a data centre are used, and which come first.
type Family uint8

const (
	// PreferIPv4 uses both, IPv4 first.
	PreferIPv4 Family = iota
	// PreferIPv6 uses both, IPv6 first.
	PreferIPv6
	// OnlyIPv4 uses no IPv6 address.
	OnlyIPv4
	// OnlyIPv6 uses no IPv4 address.
	OnlyIPv6
)

var familyNames = [...]string{"prefer-ipv4", "prefer-ipv6", "only-ipv4", "only-ipv6"}

// String returns "prefer-ipv4", "prefer-ipv6", "only-ipv4" or "only-ipv6".
func (f Family) String() string {
	if int(f) >= len(familyNames) {
		return "unknown"
	}
	return familyNames[f]
}

// MarshalText writes what String returns.
func (f Family) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what String returns, in any case.
func (f *Family) UnmarshalText(text []byte) error {
	for i, name := range familyNames {
		if strings.EqualFold(name, string(text)) {
			*f = Family(i)
			return nil
		}
	}
	return fmt.Errorf("unknown address family %q: want %s", text, strings.Join(familyNames[:], ", "))
}

// order puts a data centre's addresses in the order in which they are tried:
// the families by turns, all on one port before the next port. Networks let
// through a port more often than an address, and what keeps one family out
// should not cost more than one attempt.
func (f Family) order(ipv4, ipv6 []netip.AddrPort) (list []string) {
	first, second := ipv4, ipv6
	switch f {
	case PreferIPv6:
		first, second = ipv6, ipv4
	case OnlyIPv4:
		second = nil
	case OnlyIPv6:
		first, second = ipv6, nil
	}
	seen := make(map[uint16]bool)
	for _, a := range first {
		if port := a.Port(); !seen[port] {
			seen[port] = true
			list = interleave(list, onPort(first, port), onPort(second, port))
		}
	}
	return list
}

func onPort(all []netip.AddrPort, port uint16) (some []netip.AddrPort) {
	for _, a := range all {
		if a.Port() == port {
			some = append(some, a)
		}
	}
	return some
}

// interleave appends one of a, one of b, and so on until both are used up.
func interleave(list []string, a, b []netip.AddrPort) []string {
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			list = append(list, a[i].String())
		}
		if i < len(b) {
			list = append(list, b[i].String())
		}
	}
	return list
}
