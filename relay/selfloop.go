package relay

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/netx"
)

// Self-connection detection. If an endpoint leads back to the relay, every client would
// cause connections without end, also after it has left. Therefore the relay knows the
// local addresses of its connections to servers, and serves no client that has one of
// them. A way through NAT or another relay is not detected.

// loopLogInterval is the time between two records of an endpoint that leads back.
const loopLogInterval = time.Minute

// ownAddresses are the local addresses of connections to servers. Its zero value is ready.
type ownAddresses struct {
	mu     sync.Mutex
	all    map[netip.AddrPort]string // the servers' names
	logged time.Time
}

// add adds the address of a connection to a server.
func (o *ownAddresses) add(local net.Addr, server string) {
	address := addrPortOf(local)
	if !address.IsValid() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[netip.AddrPort]string)
	}
	o.all[address] = server
}

// remove removes the address of a connection that is about to be closed, after which
// another program may have it.
func (o *ownAddresses) remove(local net.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, addrPortOf(local))
}

// find returns the server that a client's address is that of a connection to. logs is
// false if there was a record of it lately.
func (o *ownAddresses) find(client net.Addr) (server string, found, logs bool) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if server, found = o.all[addrPortOf(client)]; found && (o.logged.IsZero() || now.Sub(o.logged) >= loopLogInterval) {
		o.logged, logs = now, true
	}
	return server, found, logs
}

// isOwn reports whether the client is this relay.
func (s *session) isOwn() bool {
	server, found, logs := s.relay.own.find(s.client.RemoteAddr())
	if logs {
		s.relay.config.Log.Error("an endpoint leads back to this relay: its connections are closed", "to", server)
	}
	return found
}

// addrPortOf returns the address of a TCP connection, or an invalid one.
func addrPortOf(address net.Addr) netip.AddrPort {
	a, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap().WithZone(""), a.AddrPort().Port())
}

// noting returns dial with connections whose addresses are own ones, for servers over HTTP,
// which are dialled for each request.
func (r *Relay) noting(dial mtwire.DialFunc) mtwire.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		r.own.add(conn.LocalAddr(), address)
		return &notedConn{Conn: conn, own: &r.own}, nil
	}
}

// notedConn is a connection whose address is an own one.
type notedConn struct {
	net.Conn
	own  *ownAddresses
	once sync.Once
}

// Close closes the connection. After the first call the address may be another connection's.
func (c *notedConn) Close() error {
	c.once.Do(func() { c.own.remove(c.LocalAddr()) })
	return c.Conn.Close()
}

// NetConn returns the connection below.
func (c *notedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the sending direction, if the connection below can.
func (c *notedConn) CloseWrite() error { return netx.CloseWrite(c.Conn) }
