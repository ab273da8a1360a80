package datacenter

import (
	"fmt"
	"net/netip"
	"strings"
)

// Family is an IP version preference: which addresses of a data centre are
// used, and which are tried first.
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

// MarshalText returns the same text as String.
func (f Family) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText accepts the names that String returns, in any case. After an error f is
// unchanged.
func (f *Family) UnmarshalText(text []byte) error {
	for i, name := range familyNames {
		if strings.EqualFold(name, string(text)) {
			*f = Family(i)
			return nil
		}
	}
	return fmt.Errorf("unknown address family %q: want %s", text, strings.Join(familyNames[:], ", "))
}

// Addresses returns the addresses that f allows, in the order in which to try
// them: all addresses on one port before the next port, and on each port IPv4
// and IPv6 alternate. Networks block a port less often than an address, and a
// network without one family costs one failed attempt. A port that the
// preferred family does not have is left out. The slice belongs to the caller.
func (l Location) Addresses(f Family) []netip.AddrPort {
	first, second := l.IPv4, l.IPv6
	switch f {
	case PreferIPv6:
		first, second = l.IPv6, l.IPv4
	case OnlyIPv4:
		second = nil
	case OnlyIPv6:
		first, second = l.IPv6, nil
	}
	list := make([]netip.AddrPort, 0, len(first)+len(second))
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
func interleave(list, a, b []netip.AddrPort) []netip.AddrPort {
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			list = append(list, a[i])
		}
		if i < len(b) {
			list = append(list, b[i])
		}
	}
	return list
}
