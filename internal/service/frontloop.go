package service

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/proxy"
)

// A fronting host that is the proxy itself cannot answer an unauthenticated client.
// This happens if the domain of a secret resolves to the proxy's machine, which is
// good, and the site has no address of its own in --front. Package fronting detects
// it by what comes back, also behind address translation, but only while a client
// waits. Most cases can be found at the start, by resolving.

// loopTimeout limits the time to look the fronting hosts up.
const loopTimeout = 10 * time.Second

// frontLoop is a fronting host at an address that the proxy listens on.
type frontLoop struct{ domain, address, listener string }

// loopFinder finds fronting hosts that are the proxy itself.
type loopFinder struct {
	listeners []net.Addr
	own       func(ip netip.Addr) bool // reports whether ip is one of this machine's
	lookup    func(ctx context.Context, host string) ([]netip.Addr, error)
}

// warnOfLoops warns of each fronting host that is the proxy itself.
func (s *Service) warnOfLoops(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loopTimeout)
	defer cancel()
	finder := loopFinder{listeners: s.Addresses(), own: isOwn(), lookup: thisMachine().lookup}
	loops := finder.find(ctx, s.proxy.FrontingHosts())
	for _, loop := range loops {
		s.log.Warn("the fronting host is this proxy itself: unauthenticated clients get no answer until --front has the site's own address",
			"domain", loop.domain, "front", loop.address, "listening_on", loop.listener)
	}
	if len(loops) == 0 && ctx.Err() == nil {
		s.log.Debug("no fronting host is this proxy")
	}
}

// isOwn returns a function that reports whether an address is one of this machine's.
func isOwn() func(ip netip.Addr) bool {
	own := make(map[netip.Addr]bool)
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own[prefix.Addr().Unmap()] = true
		}
	}
	return func(ip netip.Addr) bool { return own[ip] || ip.IsLoopback() || ip.IsUnspecified() }
}

// find returns the loops among the fronting hosts, in the order of their domains.
func (f *loopFinder) find(ctx context.Context, fronts map[string]proxy.Front) (loops []frontLoop) {
	for _, domain := range slices.Sorted(maps.Keys(fronts)) {
		address := fronts[domain].Address
		if listener := f.listenerAt(ctx, address); listener != nil {
			loops = append(loops, frontLoop{domain, address, listener.String()})
		}
	}
	return loops
}

// listenerAt returns the listener that connections to address reach, or nil.
func (f *loopFinder) listenerAt(ctx context.Context, address string) net.Addr {
	network, address, err := netx.SplitNetwork(address)
	if err != nil {
		return nil
	}
	if network == "unix" {
		i := slices.IndexFunc(f.listeners, func(l net.Addr) bool { return l.Network() == "unix" && l.String() == address })
		return f.at(i)
	}
	host, port, _ := net.SplitHostPort(address)
	if !f.anyPort(port) {
		return nil // no lookup is needed
	}
	for _, ip := range f.resolve(ctx, host) {
		i := slices.IndexFunc(f.listeners, func(l net.Addr) bool { return f.accepts(l, ip, port) })
		if i >= 0 {
			return f.listeners[i]
		}
	}
	return nil
}

func (f *loopFinder) at(i int) net.Addr {
	if i < 0 {
		return nil
	}
	return f.listeners[i]
}

func (f *loopFinder) anyPort(port string) bool {
	return slices.ContainsFunc(f.listeners, func(l net.Addr) bool {
		listening, err := netip.ParseAddrPort(l.String())
		return err == nil && strconv.Itoa(int(listening.Port())) == port
	})
}

// resolve returns the addresses of a host, none if it cannot be looked up.
func (f *loopFinder) resolve(ctx context.Context, host string) []netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}
	}
	found, _ := f.lookup(ctx, host)
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found
}

// accepts reports whether a connection of this machine to ip and port reaches the
// listener.
func (f *loopFinder) accepts(listener net.Addr, ip netip.Addr, port string) bool {
	listening, err := netip.ParseAddrPort(listener.String())
	if err != nil || strconv.Itoa(int(listening.Port())) != port || !f.own(ip) {
		return false
	}
	at := listening.Addr().Unmap()
	// The unspecified IPv6 address takes IPv4 connections, too, unless the listener
	// is for IPv6 alone, which its address does not tell.
	return at == ip || at.IsUnspecified() && (at.Is6() || ip.Is4()) || ip.IsUnspecified() && at.IsLoopback()
}
