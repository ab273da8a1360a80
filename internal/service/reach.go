package service

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/stun"
)

// machine is what the address in a link depends on besides the configuration.
type machine struct {
	own    []ownAddress // the best first
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// askSTUN returns the address that a STUN server sees, from network udp4 or udp6.
	askSTUN func(ctx context.Context, network, server string) (netip.Addr, error)
}

// thisMachine returns the machine that the process runs on.
func thisMachine() *machine {
	return &machine{
		own: systemAddresses(),
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		askSTUN: stun.Query,
	}
}

// endpoint is an address that a service listens on.
type endpoint struct {
	network string // tcp, tcp4 or tcp6, which selects the families of an unspecified ip
	ip      netip.Addr
	port    uint16
}

// reach is where clients connect to. notes are sentences for the operator, about
// what keeps clients from connecting there.
type reach struct {
	host  string
	port  uint16
	notes []string
}

const (
	// lookupTimeout limits the time to find out which name is this machine's.
	lookupTimeout = 2 * time.Second
	// maxLookups limits the number of names that are looked up.
	maxLookups = 4
)

// stunServers are those that PublicAddress asks for auto.
var stunServers = []string{"stun.cloudflare.com:3478", "stun.l.google.com:19302"}

// find returns where clients reach endpoints. Whatever public does not have comes
// from the machine: one of domains that resolves to this machine, or else the best
// address.
func (m *machine) find(ctx context.Context, public PublicAddress, endpoints []endpoint, domains []string) reach {
	var candidates []candidate
	for _, e := range endpoints {
		candidates = append(candidates, m.candidates(e)...)
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(scopeOf(b.ip), scopeOf(a.ip)), cmp.Compare(a.ip.BitLen(), b.ip.BitLen()))
	})
	if len(candidates) == 0 {
		return reach{host: public.Host, port: public.Port} // Config.check requires both
	}
	r := reach{port: cmp.Or(public.Port, candidates[0].port)}
	if public.Host != "" {
		r.host = public.Host
		return r
	}
	var seen netip.Addr
	if public.STUN != "" {
		var err error
		if seen, err = m.ask(ctx, public.STUN, endpoints); err != nil {
			r.note("no STUN server has told this machine's address: %v", err)
		}
	}
	if name := m.ownName(ctx, domains, candidates, seen); name != "" {
		r.host = name
		return r
	}
	if seen.IsValid() {
		r.host = seen.String()
		r.noteTranslation(seen, candidates)
		return r
	}
	r.host = candidates[0].ip.String()
	r.noteScope(candidates)
	return r
}

// candidate is an address and port of this machine that clients may connect to.
type candidate struct {
	ip   netip.Addr
	port uint16
}

// candidates returns the addresses at which e accepts connections, the best first.
func (m *machine) candidates(e endpoint) (candidates []candidate) {
	if !e.ip.IsUnspecified() {
		return []candidate{{e.ip.Unmap(), e.port}}
	}
	for _, own := range m.own {
		if e.accepts(own.ip) {
			candidates = append(candidates, candidate{own.ip, e.port})
		}
	}
	if len(candidates) == 0 {
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if !e.accepts(loopback) {
			loopback = netip.IPv6Loopback()
		}
		candidates = append(candidates, candidate{loopback, e.port})
	}
	return candidates
}

// accepts reports whether a listener on all addresses accepts connections to ip.
func (e endpoint) accepts(ip netip.Addr) bool {
	return e.network == "tcp" || ip.Is4() == (e.network == "tcp4")
}

// ownName returns the first of domains that resolves to this machine, and to no
// other: every address is a candidate, or the one that a STUN server has seen. A
// name in /etc/hosts with a loopback address is not one that clients can look up.
func (m *machine) ownName(ctx context.Context, domains []string, candidates []candidate, seen netip.Addr) string {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	for _, domain := range domains[:min(len(domains), maxLookups)] {
		resolved, _ := m.lookup(ctx, domain)
		foreign := slices.ContainsFunc(resolved, func(ip netip.Addr) bool {
			ip = ip.Unmap()
			return ip.IsLoopback() || ip != seen && !slices.ContainsFunc(candidates, func(c candidate) bool { return c.ip == ip })
		})
		if len(resolved) > 0 && !foreign {
			return domain
		}
	}
	return ""
}

// ask returns the address of this machine that a STUN server sees, of a family that
// an endpoint has. For auto it asks all stunServers and takes the first answer.
func (m *machine) ask(ctx context.Context, server string, endpoints []endpoint) (netip.Addr, error) {
	servers := []string{server}
	if server == publicAuto {
		servers = stunServers
	}
	var failed error // of the first family
	for _, network := range []string{"udp4", "udp6"} {
		if !slices.ContainsFunc(endpoints, func(e endpoint) bool { return e.speaks(network) }) {
			continue
		}
		ip, err := m.askAll(ctx, network, servers)
		if err == nil {
			return ip, nil
		}
		if failed == nil {
			failed = err
		}
	}
	return netip.Addr{}, failed
}

// speaks reports whether e accepts connections of the family of network, udp4 or
// udp6.
func (e endpoint) speaks(network string) bool {
	if !e.ip.IsUnspecified() {
		return e.ip.Unmap().Is4() == (network == "udp4")
	}
	return e.network == "tcp" || strings.TrimPrefix(e.network, "tcp") == strings.TrimPrefix(network, "udp")
}

// askAll returns the first answer of servers, or the first error.
func (m *machine) askAll(ctx context.Context, network string, servers []string) (netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		ip  netip.Addr
		err error
	}
	answers := make(chan answer, len(servers))
	for _, server := range servers {
		go func() {
			ip, err := m.askSTUN(ctx, network, server)
			answers <- answer{ip.Unmap(), err}
		}()
	}
	var failed error
	for range servers {
		a := <-answers
		switch {
		case a.err == nil && scopeOf(a.ip) > scopeLoopback:
			return a.ip, nil
		case a.err == nil:
			a.err = fmt.Errorf("a STUN server has seen %v", a.ip)
		}
		if failed == nil {
			failed = a.err
		}
	}
	return netip.Addr{}, failed
}

func (r *reach) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// noteTranslation adds a note if seen, which a STUN server has seen, is not an
// address of this machine.
func (r *reach) noteTranslation(seen netip.Addr, candidates []candidate) {
	behind := candidates[0]
	for _, c := range candidates {
		if c.ip == seen {
			return
		}
		if c.ip.Is4() == seen.Is4() && behind.ip.Is4() != seen.Is4() {
			behind = c
		}
	}
	r.note("this machine is behind address translation: the router of %v must forward port %d to %v", seen, r.port,
		net.JoinHostPort(behind.ip.String(), portText(behind.port)))
}

func portText(port uint16) string { return strconv.Itoa(int(port)) }

// noteScope adds a note if not all clients can connect to the first candidate.
func (r *reach) noteScope(candidates []candidate) {
	const remedy = "; --public HOST[:PORT] sets the address that clients connect to, and --public auto asks a STUN server for it"
	ip := candidates[0].ip
	switch scopeOf(ip) {
	case scopePublic:
		if ip.Is6() {
			r.note("the link has an IPv6 address, because the proxy listens on no public IPv4 address: clients without IPv6 cannot connect; --public HOST[:PORT] sets another")
		}
	case scopeShared:
		r.note("the link has the address %v of a carrier's network or a VPN, because the proxy listens on no public one%s", ip, remedy)
	case scopePrivate:
		r.note("the link has the private address %v, because the proxy listens on no public one%s", ip, remedy)
	default:
		r.note("the link works on this machine only, because the proxy listens on no other address than %v%s", ip, remedy)
	}
}
