package proxyprotocol

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Trust is the set of peers that send PROXY protocol headers. From any other peer
// a header must not be read: with one a client can claim any address. The zero
// value trusts no peer.
//
// Networks must be as AddNetwork leaves them.
type Trust struct {
	Networks []netip.Prefix
	Unix     bool // every peer that connects to a Unix socket
}

// Add parses an address, a network such as 10.0.0.0/8, or the word unix, and adds
// it.
func (t *Trust) Add(text string) error {
	if text == "unix" {
		t.Unix = true
		return nil
	}
	network, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var addr netip.Addr
		addr, err = netip.ParseAddr(text)
		network = netip.PrefixFrom(addr, addr.BitLen())
		if addr.Zone() != "" {
			return fmt.Errorf("bad address %q: remove the zone", text)
		}
	}
	if err != nil {
		return fmt.Errorf("bad address %q: want an IP address, a network such as 10.0.0.0/8, or unix", text)
	}
	return t.AddNetwork(network)
}

// AddNetwork adds a network, masked. IPv4-mapped IPv6 addresses become IPv4, as do
// the addresses that Contains compares.
func (t *Trust) AddNetwork(network netip.Prefix) error {
	if !network.IsValid() {
		return errors.New("invalid network: not an IP prefix")
	}
	if addr := network.Addr(); addr.Is4In6() {
		if network.Bits() < 96 {
			return fmt.Errorf("bad network %v: with fewer than 96 bits it is not IPv4", network)
		}
		network = netip.PrefixFrom(addr.Unmap(), network.Bits()-96)
	}
	t.Networks = append(t.Networks, network.Masked())
	return nil
}

// Contains reports whether a connection's remote address is trusted.
func (t Trust) Contains(peer net.Addr) bool {
	if _, ok := peer.(*net.UnixAddr); ok {
		return t.Unix
	}
	addr := addrPort(peer).Addr().WithZone("")
	return slices.ContainsFunc(t.Networks, func(network netip.Prefix) bool { return network.Contains(addr) })
}
