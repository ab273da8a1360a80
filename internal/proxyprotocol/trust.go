package proxyprotocol

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Trust is from whom a header is believed. Anybody else could claim any
// address with one. The zero value trusts nobody.
type Trust struct {
	Prefixes []netip.Prefix
	Unix     bool // whoever connects to a Unix socket
}

// ParseTrust reads addresses and prefixes; "unix" stands for whoever connects
// to a Unix socket.
func ParseTrust(texts []string) (Trust, error) {
	var t Trust
	for _, text := range texts {
		if text == "unix" {
			t.Unix = true
			continue
		}
		prefix, err := parsePrefix(text)
		if err != nil {
			return Trust{}, err
		}
		t.Prefixes = append(t.Prefixes, prefix)
	}
	return t, nil
}

// parsePrefix reads a prefix, or an address as the prefix that has just that.
// IPv4 written as IPv6 becomes IPv4, which is what addresses are compared as.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var addr netip.Addr
		addr, err = netip.ParseAddr(text)
		prefix = netip.PrefixFrom(addr, addr.BitLen())
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("bad address %q: leave out the zone", text)
		}
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("bad address %q: want an IP address, a prefix such as 10.0.0.0/8, or unix", text)
	}
	if addr := prefix.Addr(); addr.Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("bad prefix %q: shorter than /96 it is not IPv4", text)
		}
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// Contains says whether a connection's remote address is trusted.
func (t Trust) Contains(peer net.Addr) bool {
	if _, ok := peer.(*net.UnixAddr); ok {
		return t.Unix
	}
	addr := addrPort(peer).Addr().WithZone("")
	for _, prefix := range t.Prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
