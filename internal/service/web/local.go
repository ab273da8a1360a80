package web

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// The site as a fronting host: the proxy connects to it over loopback for clients whose
// hello does not name it, and measures it for FakeTLS clients that do. Any program of the
// machine may connect as well, so the number of these connections is limited, with shares for
// the networks of the clients that they are for.

const (
	// localGrace is how long a connection may take before it is first to make room.
	localGrace = 2 * time.Second
	// mostLocal is twice the default of proxy.Config.MaxFronted: one that was evicted this
	// moment may be there still.
	mostLocal = 2 * 4096
)

// localLimits returns the limits of the connections of ServeLocal.
func (c *Config) localLimits() admission.Limits {
	return shares(cmp.Or(c.MaxLocal, max(2*maxVisits, min(mostLocal, netx.MaxDescriptors()/4))))
}

// localConn is a connection of the proxy, with the address of its client.
type localConn struct {
	net.Conn
	remote net.Addr
	table  *admission.Table
	member admission.Member
}

func (c *localConn) RemoteAddr() net.Addr { return c.remote }

// NetConn returns the connection below.
func (c *localConn) NetConn() net.Conn { return c.Conn }

// Close closes the connection, which is not counted any more.
func (c *localConn) Close() error {
	c.table.Leave(&c.member)
	return c.Conn.Close()
}

// Evict closes the connection, to make room for another one.
func (c *localConn) Evict(*admission.EvictedError) { c.Conn.Close() }

// HasUnread returns false: what has come is read at once.
func (c *localConn) HasUnread() bool { return false }

// enter counts the connection as one from that address.
func (c *localConn) enter(class admission.Class) {
	remote, _ := netip.ParseAddrPort(c.remote.String())
	c.table.Leave(&c.member)
	c.table.Enter(&c.member, c, remote.Addr(), class)
}

// ServeLocal serves connections of the proxy until ln is closed or fails, and returns the cause.
// Each begins with a PROXY protocol header. There are Config.MaxLocal at most.
func (s *Server) ServeLocal(ln net.Listener) error {
	return netx.AcceptLoop(s.ctx, ln, func(conn net.Conn) {
		s.start(func() { s.serveLocal(conn) }, conn)
	}, nil)
}

// serveLocal reads a connection's header, and serves it.
func (s *Server) serveLocal(conn net.Conn) {
	c := &localConn{Conn: conn, remote: conn.RemoteAddr(), table: s.local}
	c.enter(admission.Silent)
	stop := context.AfterFunc(s.ctx, func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(headerTime))
	source, err := proxyprotocol.Read(conn)
	if !stop() || err != nil {
		c.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	if source.IsValid() {
		c.remote = net.TCPAddrFromAddrPort(source)
	}
	c.enter(admission.Complete)
	s.Serve(c)
}
