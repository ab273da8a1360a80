package web

import (
	"context"
	"net"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// The site as a fronting host: the proxy connects to it over loopback for clients whose
// hello does not name it, and measures it for FakeTLS clients that do.

// localConn is a connection of the proxy, with the address of its client.
type localConn struct {
	net.Conn
	remote net.Addr
}

func (c *localConn) RemoteAddr() net.Addr { return c.remote }

// NetConn returns the connection below.
func (c *localConn) NetConn() net.Conn { return c.Conn }

// ServeLocal serves connections of the proxy until ln is closed or fails, and returns the cause.
// Each begins with a PROXY protocol header.
func (s *Server) ServeLocal(ln net.Listener) error {
	return netx.AcceptLoop(s.ctx, ln, func(conn net.Conn) {
		s.start(func() { s.serveLocal(conn) }, conn)
	}, nil)
}

// serveLocal reads a connection's header, and serves it.
func (s *Server) serveLocal(conn net.Conn) {
	stop := context.AfterFunc(s.ctx, func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(headerTime))
	source, err := proxyprotocol.Read(conn)
	if !stop() || err != nil {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	remote := conn.RemoteAddr()
	if source.IsValid() {
		remote = net.TCPAddrFromAddrPort(source)
	}
	s.Serve(&localConn{conn, remote})
}
