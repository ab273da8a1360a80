package resolve

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mtwire/mtwire/internal/happyeyeballs"
)

// attemptDelay is the time from the start of one attempt to the start of the next
// one beside it, the Connection Attempt Delay.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8305#section-5
const attemptDelay = 250 * time.Millisecond

// order returns the addresses in the order in which to try them, at most
// maxAddresses: that of the resolver, with the address families by turns.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8305#section-4
func order(addresses []netip.Addr) []netip.Addr {
	if len(addresses) == 0 {
		return nil
	}
	var families [2][]netip.Addr // that of the first address, and the other
	first := addresses[0].Unmap().Is4()
	for _, a := range addresses {
		a = a.Unmap()
		i := 0
		if a.Is4() != first {
			i = 1
		}
		if !slices.Contains(families[i], a) {
			families[i] = append(families[i], a)
		}
	}
	var ordered []netip.Addr
	for i := 0; i < max(len(families[0]), len(families[1])); i++ {
		for _, family := range families {
			if i < len(family) && len(ordered) < maxAddresses {
				ordered = append(ordered, family[i])
			}
		}
	}
	return ordered
}

// ordered returns the addresses of h with the preferred one in front. The result
// is immutable. Under Cache.mu.
func (h *host) ordered() []netip.Addr {
	i := slices.Index(h.addresses, h.preferred)
	if i <= 0 {
		return h.addresses
	}
	ordered := make([]netip.Addr, 0, len(h.addresses))
	ordered = append(ordered, h.preferred)
	ordered = append(ordered, h.addresses[:i]...)
	return append(ordered, h.addresses[i+1:]...)
}

// Through returns a DialFunc that looks host names up in c and connects to their
// addresses with dial. A host with several addresses is tried at the next one when
// an attempt fails or takes longer than 250 ms (Happy Eyeballs); the first to
// connect wins. What is no TCP address with a host name is passed to dial as it is.
//
// The error is a *net.OpError with that of the lookup, or the error of the first
// attempt that failed. When the DialFunc returns, its attempts have ended. If c is
// nil, Through returns dial.
func (c *Cache) Through(dial DialFunc) DialFunc {
	if c == nil {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		name, port, err := net.SplitHostPort(address)
		if err != nil || name == "" || !isTCP(network) {
			return dial(ctx, network, address)
		}
		if _, err := netip.ParseAddr(name); err == nil {
			return dial(ctx, network, address)
		}
		addresses, err := c.Lookup(ctx, name)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: err}
		}
		addresses = ofNetwork(network, addresses)
		if len(addresses) == 0 {
			return nil, &net.OpError{Op: "dial", Net: network, Err: &net.AddrError{Err: "no address of this family"}}
		}
		conn, winner, errs := happyeyeballs.Dial(ctx, len(addresses), attemptDelay, func(ctx context.Context, i int) (net.Conn, error) {
			return dial(ctx, network, net.JoinHostPort(addresses[i].String(), port))
		})
		if conn != nil {
			if winner > 0 {
				c.connected(name, addresses[winner])
			}
			return conn, nil
		}
		if ctx.Err() == nil {
			c.unreachable(name)
		}
		return nil, errs[0]
	}
}

func isTCP(network string) bool { return network == "tcp" || network == "tcp4" || network == "tcp6" }

// ofNetwork returns the addresses that can be dialled in a network.
func ofNetwork(network string, addresses []netip.Addr) []netip.Addr {
	if network == "tcp" {
		return addresses
	}
	return slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return a.Is4() != (network == "tcp4") })
}
