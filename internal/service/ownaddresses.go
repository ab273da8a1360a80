package service

import (
	"cmp"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
)

// scope is how far away an address can be connected to from, the greater the
// farther.
type scope int

const (
	scopeNone     scope = iota // not at all: multicast, link-local, reserved
	scopeLoopback              // from this machine
	scopePrivate               // from the same network
	scopeShared                // from a carrier's network, or a VPN such as Tailscale
	scopePublic                // from everywhere
)

// narrowScopes are the networks of public-looking addresses that are not public.
//
// Specifications:
// https://www.iana.org/assignments/iana-ipv4-special-registry/
// https://www.iana.org/assignments/iana-ipv6-special-registry/
var narrowScopes = []struct {
	network netip.Prefix
	scope   scope
}{
	{netip.MustParsePrefix("100.64.0.0/10"), scopeShared},
	{netip.MustParsePrefix("192.0.0.0/24"), scopePrivate},  // a carrier's translation to IPv6
	{netip.MustParsePrefix("198.18.0.0/15"), scopePrivate}, // benchmarks, and VPNs that fake addresses
	{netip.MustParsePrefix("240.0.0.0/4"), scopeNone},
	{netip.MustParsePrefix("64:ff9b::/96"), scopeNone}, // translations of IPv4 addresses
	{netip.MustParsePrefix("fec0::/10"), scopePrivate},
}

func scopeOf(ip netip.Addr) scope {
	ip = ip.Unmap()
	switch {
	case ip.IsLoopback():
		return scopeLoopback
	case !ip.IsGlobalUnicast():
		return scopeNone
	case ip.IsPrivate():
		return scopePrivate
	}
	for _, narrow := range narrowScopes {
		if narrow.network.Contains(ip) {
			return narrow.scope
		}
	}
	return scopePublic
}

// ownAddress is an address of one of this machine's interfaces.
type ownAddress struct {
	ip           netip.Addr
	pointToPoint bool // of a tunnel
	temporary    bool // an IPv6 address that is replaced after a day
}

// networkInterface is what is known of an interface.
type networkInterface struct {
	name      string
	flags     net.Flags
	addresses []netip.Addr
}

// virtualInterface matches the names of bridges and links to containers and virtual
// machines: nothing outside of this machine can connect to their addresses.
// OpenWrt's br-lan is a real network; Docker's bridges have twelve digits.
var virtualInterface = regexp.MustCompile(`^(?:docker\d|docker_gwbridge|br-[0-9a-f]{12}$|veth|virbr|vnet|lxcbr|lxdbr|incusbr|podman|cni|cbr\d|` +
	`flannel|cali|cilium|kube|weave|nodelocaldns|vmnet|vboxnet|vEthernet|bridge1\d\d$|dummy|ifb|awdl|llw)`)

// ownAddresses returns the addresses at which clients may connect to a listener on
// all addresses, the best first: by scope, then IPv4 before IPv6, then interfaces
// that are no tunnels, then addresses that last, then in the system's order.
// temporary has the addresses that do not last.
func ownAddresses(interfaces []networkInterface, temporary map[netip.Addr]bool) (own []ownAddress) {
	for _, i := range interfaces {
		if i.flags&net.FlagUp == 0 || virtualInterface.MatchString(i.name) {
			continue
		}
		for _, ip := range i.addresses {
			if ip = ip.Unmap(); scopeOf(ip) > scopeLoopback {
				own = append(own, ownAddress{ip, i.flags&net.FlagPointToPoint != 0, temporary[ip]})
			}
		}
	}
	slices.SortStableFunc(own, func(a, b ownAddress) int {
		return cmp.Or(
			cmp.Compare(scopeOf(b.ip), scopeOf(a.ip)),
			cmp.Compare(a.ip.BitLen(), b.ip.BitLen()),
			compareBool(a.pointToPoint, b.pointToPoint),
			compareBool(a.temporary, b.temporary),
		)
	})
	return own
}

// compareBool sorts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// systemAddresses returns ownAddresses of this machine.
func systemAddresses() []ownAddress {
	all, _ := net.Interfaces()
	var interfaces []networkInterface
	for _, i := range all {
		known := networkInterface{name: i.Name, flags: i.Flags}
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				known.addresses = append(known.addresses, prefix.Addr())
			}
		}
		interfaces = append(interfaces, known)
	}
	table, _ := os.ReadFile("/proc/net/if_inet6") // on other systems there is none
	return ownAddresses(interfaces, temporaryAddresses(string(table)))
}

// temporaryAddresses returns the addresses that Linux lists as temporary or
// deprecated. A line has the address in hexadecimal, the index of the interface, the
// length of the prefix, the scope, the flags and the name of the interface.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8981
func temporaryAddresses(table string) map[netip.Addr]bool {
	const flagTemporary, flagDeprecated = 0x01, 0x20
	temporary := make(map[netip.Addr]bool)
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		ip, err := hex.DecodeString(fields[0])
		flags, badFlags := hex.DecodeString(fields[4])
		if addr, ok := netip.AddrFromSlice(ip); ok && err == nil && badFlags == nil && len(flags) == 1 && flags[0]&(flagTemporary|flagDeprecated) != 0 {
			temporary[addr] = true
		}
	}
	return temporary
}
