package service

import (
	"context"
	"net"
	"slices"

	"github.com/mtwire/mtwire/internal/netx"
)

// listenersChange is other listeners for a service, or for its web site. One of commit and
// rollback is called.
type listenersChange struct {
	set    relistened
	next   []*listener
	added  []*listener
	opened []*listener // those of before with which an added one shares a port for a moment
	beside bool        // Config.ReusePort
}

// relistened are listeners that come and go: a listenerSet, or a website.
type relistened interface {
	list() []*listener
	replace(all []*listener) // serves those that are new, and closes those that are gone
}

// prepareListeners listens on the addresses of a setting that set does not listen on yet, and
// on all or none. The listeners of before go on meanwhile. Those that were inherited stay,
// whether they are configured or not.
//
// An address that overlaps one of before, such as another address of the same port, can be
// listened on before that is closed on systems where SO_REUSEPORT can be set late, as on
// Linux. Elsewhere it is an error. After an upgrade the listeners stay as they are.
func (s *Service) prepareListeners(ctx context.Context, set relistened, setting string, addresses []ListenAddress) (*listenersChange, error) {
	c := &listenersChange{set: set, beside: s.config.ReusePort}
	before := set.list()
	if s.upgrade.isDone() { // the addresses are the other process's
		c.next = before
		return c, nil
	}
	for _, address := range addresses {
		l := findListener(before, address)
		if l == nil {
			var err error
			if l, err = c.listen(ctx, address, before); err != nil {
				c.rollback()
				return nil, configError(setting, "%v: %w", address, err)
			}
			c.added = append(c.added, l)
		}
		c.next = append(c.next, l)
	}
	for _, l := range before {
		if l.inherited && !slices.Contains(c.next, l) {
			c.next = append(c.next, l)
		}
	}
	return c, nil
}

// findListener returns the one of all that listens on address, nil if there is none.
func findListener(all []*listener, address ListenAddress) *listener {
	for _, l := range all {
		if l.inherited && address.isOf(l.Addr()) || !l.inherited && l.address == address {
			return l
		}
	}
	return nil
}

// listen listens on address, if need be beside listeners of before.
func (c *listenersChange) listen(ctx context.Context, address ListenAddress, before []*listener) (*listener, error) {
	ln, err := address.listen(ctx, c.beside)
	if netx.IsErrno(err, netx.EADDRINUSE) && address.Network != "unix" && !c.beside && c.openPort(address, before) {
		var shared net.Listener
		if shared, err = address.listen(ctx, true); err == nil {
			ln = unshared(shared)
		}
	}
	if err != nil {
		return nil, err
	}
	return &listener{Listener: ln, address: address}, nil
}

// openPort lets others listen on the port of address, on which listeners of before do. It
// reports whether there are any, and all allow it.
func (c *listenersChange) openPort(address ListenAddress, before []*listener) bool {
	found := false
	for _, l := range before {
		if portOf(l.Addr()) == 0 || portOf(l.Addr()) != address.port() {
			continue
		}
		if setShared(l.Listener, true) != nil {
			return false
		}
		c.opened, found = append(c.opened, l), true
	}
	return found
}

// commit serves the new listeners, and then closes those that are not in the configuration
// any more. Connections that have come through these go on.
func (c *listenersChange) commit() {
	c.set.replace(c.next)
	c.closePorts(c.next)
}

// rollback closes the new listeners, on which no connection was accepted.
func (c *listenersChange) rollback() {
	for _, l := range c.added {
		l.Close()
	}
	c.closePorts(c.set.list())
}

// closePorts undoes openPort for the listeners that are left. On Linux a program of the
// same user that sets SO_REUSEPORT may still listen on their address.
func (c *listenersChange) closePorts(left []*listener) {
	if len(c.opened) == 0 {
		return
	}
	for _, l := range slices.Concat(c.opened, c.added) {
		if slices.Contains(left, l) {
			setShared(l.Listener, false)
		}
	}
}

// portOf returns the port of a TCP address, 0 for another one.
func portOf(addr net.Addr) int {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// port returns the port to listen on, 0 for a Unix socket, and for one that the system
// chooses.
func (a ListenAddress) port() int {
	_, port, err := net.SplitHostPort(a.Address)
	if err != nil || a.Network == "unix" {
		return 0
	}
	number, _ := net.LookupPort("tcp", port) // it was parsed
	return number
}
