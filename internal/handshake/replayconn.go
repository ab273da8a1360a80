package handshake

import (
	"net"

	"github.com/mtwire/mtwire/internal/netx"
)

// Replay returns conn with b, which was read from it, put back in front. It keeps b.
func Replay(conn net.Conn, b []byte) net.Conn { return &replayConn{Conn: conn, rest: b} }

// replayConn is a connection whose first bytes have been read before.
type replayConn struct {
	net.Conn
	rest []byte
}

// Read returns the bytes that were read before, and then reads from the connection
// below.
func (c *replayConn) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// NetConn returns the connection below.
func (c *replayConn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the sending direction. The error is errors.ErrUnsupported if the
// connection below has no half-close.
func (c *replayConn) CloseWrite() error { return netx.CloseWrite(c.Conn) }
