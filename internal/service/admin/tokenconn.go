package admin

import (
	"context"
	"net"
	"sync"
	"time"
)

// tokenTimeout is how long a connection over TCP may take to show the token. Any program
// of the network may open one, and maxConnections without a token would keep the
// operators out.
const tokenTimeout = 5 * time.Second

// tokenListener is a listener whose connections end after tokenTimeout, unless a request
// has shown the token.
type tokenListener struct{ net.Listener }

func (ln tokenListener) Accept() (net.Conn, error) {
	conn, err := ln.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tokenConn{Conn: conn, limit: time.Now().Add(tokenTimeout)}, nil
}

// tokenConn is a connection whose read deadline is limit at the latest, until accept is called.
type tokenConn struct {
	net.Conn
	limit time.Time

	mu       sync.Mutex
	deadline time.Time // that was set, zero for none
	accepted bool
}

// SetReadDeadline sets the deadline, or limit if that is earlier.
func (c *tokenConn) SetReadDeadline(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = deadline
	if !c.accepted && (deadline.IsZero() || deadline.After(c.limit)) {
		deadline = c.limit
	}
	return c.Conn.SetReadDeadline(deadline)
}

// accept notes that the connection has shown the token.
func (c *tokenConn) accept() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.accepted {
		c.accepted = true
		c.Conn.SetReadDeadline(c.deadline)
	}
}

// tokenConnKey is the key of a request's *tokenConn in its context.
type tokenConnKey struct{}

// withTokenConn is http.Server.ConnContext.
func withTokenConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, tokenConnKey{}, conn)
}

// acceptConn notes that the connection of a request has shown the token.
func acceptConn(ctx context.Context) {
	if conn, ok := ctx.Value(tokenConnKey{}).(*tokenConn); ok {
		conn.accept()
	}
}
