package relay

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/netx"
)

// Self-connection detection. If an endpoint leads back to the relay, every client would
// cause connections without end, also after it has left. Therefore the relay knows the
// addresses of its connections to servers, and serves no client whose connection has both
// addresses of one of them. One address alone proves nothing: two connections from one
// machine may have the same port if they lead to different addresses, and so a client on
// the relay's own machine may have that of a connection to a server. A way through NAT or
// another relay is not detected: nothing in a packet is the relay's own, and the same one from
// several clients proves nothing either, since some send constant ones to try a server.

// ownAddresses are the addresses of connections to servers. Its zero value is ready.
type ownAddresses struct {
	mu       sync.Mutex
	all      map[addressPair]string // the servers' names
	warnings warnings
}

// addressPair has the addresses of both ends of a connection.
type addressPair struct{ from, to netip.AddrPort }

// addressed is a net.Conn or a *mtwire.Conn.
type addressed interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// toServer returns the addresses of a connection to a server.
func toServer(conn addressed) addressPair {
	return addressPair{addrPortOf(conn.LocalAddr()), addrPortOf(conn.RemoteAddr())}
}

// fromClient returns the addresses of a client's connection, in the same order.
func fromClient(conn addressed) addressPair {
	return addressPair{addrPortOf(conn.RemoteAddr()), addrPortOf(conn.LocalAddr())}
}

// add adds the addresses of a connection to a server.
func (o *ownAddresses) add(pair addressPair, server string) {
	if !pair.from.IsValid() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[addressPair]string)
	}
	o.all[pair] = server
}

// remove removes the addresses of a connection that is about to be closed, after which
// another program may have them.
func (o *ownAddresses) remove(pair addressPair) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, pair)
}

// find returns the server that a client's connection is one to.
func (o *ownAddresses) find(client addressPair) (server string, found bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	server, found = o.all[client]
	return server, found
}

// isOwn reports whether the client is this relay.
func (s *session) isOwn() bool {
	server, found := s.relay.own.find(fromClient(s.client))
	if found && s.relay.own.warnings.due() {
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
		r.own.add(toServer(conn), address)
		return &notedConn{Conn: conn, own: &r.own}, nil
	}
}

// notedConn is a connection whose addresses are own ones.
type notedConn struct {
	net.Conn
	own  *ownAddresses
	once sync.Once
}

// Close closes the connection. After the first call the addresses may be another connection's.
func (c *notedConn) Close() error {
	c.once.Do(func() { c.own.remove(toServer(c.Conn)) })
	return c.Conn.Close()
}

// NetConn returns the connection below.
func (c *notedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the sending direction, if the connection below can.
func (c *notedConn) CloseWrite() error { return netx.CloseWrite(c.Conn) }
