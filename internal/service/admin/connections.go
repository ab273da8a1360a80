package admin

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// tokenTimeout is how long a connection over TCP may take to show the token.
	tokenTimeout = 5 * time.Second
	// maxPending limits the connections of a listener that have made no request that is
	// answered, and maxAccepted the others.
	maxPending, maxAccepted = 64, 64
)

// connections are those of one listener. Any program of the machine, or of the network,
// may open one. So nothing waits for those without the token: beyond maxPending, one of
// the network that has the most of them is closed.
type connections struct {
	net.Listener
	timeout time.Duration // until the token must be there, 0 for no limit

	mu       sync.Mutex
	pending  []*connection // the oldest first
	accepted []*connection
}

// Accept returns a *connection.
func (l *connections) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn, of: l}
	if l.timeout > 0 {
		c.limit = time.Now().Add(l.timeout)
	}
	if addr, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		c.network = networkOf(addr.Addr())
	}
	if evicted := l.add(c); evicted != nil {
		evicted.Close()
	}
	return c, nil
}

// add adds a connection, and returns the one that makes room for it, nil for none.
func (l *connections) add(c *connection) (evicted *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, c)
	if len(l.pending) <= maxPending {
		return nil
	}
	counts := make(map[netip.Addr]int)
	for _, other := range l.pending {
		counts[other.network]++
	}
	for _, other := range l.pending[:len(l.pending)-1] {
		if evicted == nil || counts[other.network] > counts[evicted.network] {
			evicted = other
		}
	}
	return evicted
}

// accept notes that a connection has made a request that is answered. It reports false if
// there are too many, all of which have one; otherwise, beyond the limit, the one that has
// been idle for longest is closed.
func (l *connections) accept(c *connection) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.accepted, c) {
		return true
	}
	if len(l.accepted) >= maxAccepted {
		var idle *connection
		for _, other := range l.accepted {
			if !other.idleSince.IsZero() && (idle == nil || other.idleSince.Before(idle.idleSince)) {
				idle = other
			}
		}
		if idle == nil {
			return false
		}
		l.accepted = without(l.accepted, idle)
		idle.Conn.Close()
	}
	l.pending, l.accepted = without(l.pending, c), append(l.accepted, c)
	return true
}

// networkOf returns what one client may have all addresses of: an IPv4 address, and of an
// IPv6 address the first 48 bits, which a provider gives to a site.
func networkOf(client netip.Addr) netip.Addr {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		prefix, _ := client.Prefix(48)
		return prefix.Addr()
	}
	return client
}

func without(all []*connection, c *connection) []*connection {
	return slices.DeleteFunc(all, func(other *connection) bool { return other == c })
}

// connection is a connection whose read deadline is limit at the latest, until it is
// accepted.
type connection struct {
	net.Conn
	of      *connections
	network netip.Addr // the zero value for that of a Unix socket
	limit   time.Time  // zero for none

	idleSince time.Time // zero while a request is there; under of.mu

	mu       sync.Mutex
	deadline time.Time // that was set, zero for none
	accepted bool
}

// SetReadDeadline sets the deadline, or limit if that is earlier.
func (c *connection) SetReadDeadline(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = deadline
	if !c.accepted && !c.limit.IsZero() && (deadline.IsZero() || deadline.After(c.limit)) {
		deadline = c.limit
	}
	return c.Conn.SetReadDeadline(deadline)
}

// Close closes the connection, which makes room for another one.
func (c *connection) Close() error {
	c.of.mu.Lock()
	c.of.pending, c.of.accepted = without(c.of.pending, c), without(c.of.accepted, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// accept notes that a request of the connection is answered. It reports whether there is
// room for that.
func (c *connection) accept() bool {
	if !c.of.accept(c) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.accepted {
		c.accepted = true
		c.Conn.SetReadDeadline(c.deadline)
	}
	return true
}

// noteState is http.Server.ConnState.
func noteState(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*connection)
	if !ok {
		return
	}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	switch state {
	case http.StateIdle:
		c.idleSince = time.Now()
	case http.StateActive:
		c.idleSince = time.Time{}
	}
}

// connectionKey is the key of a request's *connection in its context.
type connectionKey struct{}

// withConnection is http.Server.ConnContext.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// acceptConnection notes that a request is answered. It reports whether there is room for
// its connection.
func acceptConnection(ctx context.Context) bool {
	c, ok := ctx.Value(connectionKey{}).(*connection)
	return !ok || c.accept()
}
