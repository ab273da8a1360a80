package resolve

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
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
		r := race{dial: dial, network: network, port: port, addresses: ofNetwork(network, addresses)}
		conn, winner, err := r.run(ctx)
		switch {
		case err == nil && winner > 0:
			c.connected(name, r.addresses[winner])
		case err != nil && ctx.Err() == nil:
			c.unreachable(name)
		}
		return conn, err
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

// race is the attempts of one dial. Its goroutines use results and nothing else
// that changes; the rest runs in the caller's.
type race struct {
	dial          DialFunc
	network, port string
	addresses     []netip.Addr

	results chan result
	started int
	running int
}

// result is the end of one attempt.
type result struct {
	index int
	conn  net.Conn
	err   error
}

// run returns the first connection, and the index of its address.
func (r *race) run(ctx context.Context) (net.Conn, int, error) {
	switch len(r.addresses) {
	case 0:
		return nil, 0, &net.OpError{Op: "dial", Net: r.network, Err: &net.AddrError{Err: "no address of this family"}}
	case 1:
		conn, err := r.dial(ctx, r.network, r.address(0))
		return conn, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer r.stop(cancel)
	r.results = make(chan result, len(r.addresses))
	r.start(ctx)
	next := time.NewTicker(attemptDelay)
	defer next.Stop()
	var failed error
	for r.running > 0 {
		select {
		case <-next.C:
			r.start(ctx)
		case got := <-r.results:
			r.running--
			if got.err == nil {
				return got.conn, got.index, nil
			}
			if failed == nil {
				failed = got.err
			}
			if ctx.Err() == nil {
				r.start(ctx)
				next.Reset(attemptDelay)
			}
		}
	}
	return nil, 0, failed
}

// start starts the next attempt, if there is one.
func (r *race) start(ctx context.Context) {
	if r.started == len(r.addresses) {
		return
	}
	i := r.started
	r.started++
	r.running++
	go func() {
		conn, err := r.dial(ctx, r.network, r.address(i))
		r.results <- result{i, conn, err}
	}()
}

// stop ends the attempts that run, and closes their connections.
func (r *race) stop(cancel context.CancelFunc) {
	cancel()
	for range r.running {
		if late := <-r.results; late.conn != nil {
			late.conn.Close()
		}
	}
}

func (r *race) address(i int) string { return net.JoinHostPort(r.addresses[i].String(), r.port) }
