package fronting

import (
	"context"
	"io"
	"net"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
)

// Preconnected is a connection to the first host, opened for a client that has
// sent nothing yet. Authenticated in the end or not, the client is to see what
// it would see at the host: a greeting, or a close at the host's timeout. The
// host's clock runs from the beginning, whatever the client sends later.
//
// Its methods must not be called concurrently with one another. After Tunnel or
// Close, only Close may be called.
type Preconnected struct {
	pool *Pool // nil once it is closed or tunneled
	host *host
	conn net.Conn
	u    *unanswered

	greeting readbuf.Reader // what the host has sent
	ended    error          // io.EOF, or why nothing more will come
}

// Preconnect connects to the first host for a silent client that connected to
// the address local. It fails with ErrBusy if Config.MaxPreconnected is reached,
// or as Tunnel does; then the client may be left without an answer. The
// connection must be ended by Close or by Tunnel.
func (p *Pool) Preconnect(ctx context.Context, local net.Addr) (*Preconnected, error) {
	h := p.choose("")
	if h == nil {
		return nil, errNoHost
	}
	if !p.preconnects.tryAcquire() {
		return nil, ErrBusy
	}
	conn, u, err := p.connect(ctx, h, nil, local)
	if err != nil {
		p.preconnects.release()
		return nil, err
	}
	c := &Preconnected{pool: p, host: h, conn: conn, u: u}
	c.greeting.Reset(conn)
	return c, nil
}

// Wait returns nil when the host has sent bytes or has ended the connection;
// then Tunnel is due. It returns ctx's error if ctx ends before, for instance
// because the client has sent bytes. Nothing is lost then, and Wait may be
// called again.
func (c *Preconnected) Wait(ctx context.Context) error {
	if c.ended != nil || len(c.greeting.Bytes()) > 0 {
		return nil
	}
	err := netx.Interruptible(ctx, c.conn.SetReadDeadline, c.greeting.Fill)
	if err != nil && err == ctx.Err() {
		return err
	}
	c.ended = err
	c.u.end()
	return nil
}

// Tunnel is Pool.Tunnel over the connection that is open already, with what the
// host has sent meanwhile. If first names another host, the connection is closed
// and that host is dialed.
func (c *Preconnected) Tunnel(ctx context.Context, client net.Conn, first []byte) (Result, error) {
	p := c.pool
	// A removed host keeps its connection, also if its domain has another
	// address now.
	if named := p.hosts.Load().find(serverName(first)); named != nil && named.Domain != c.host.Domain {
		c.Close()
		return p.Tunnel(ctx, client, first)
	}
	defer client.Close()
	if !p.tunnels.tryAcquire() {
		c.Close()
		netx.DiscardUnanswered(ctx, client)
		return Result{}, ErrBusy
	}
	defer p.tunnels.release()
	if err := p.delay(ctx, first); err != nil {
		c.Close()
		netx.DiscardUnanswered(ctx, client)
		return Result{}, err
	}
	greeting := c.greeting.Take()
	p.preconnects.release()
	c.pool = nil
	defer c.u.end()
	defer c.conn.Close()
	if c.ended != nil && c.ended != io.EOF {
		reset(client) // a second read of the socket would not return the error again
		return Result{Domain: c.host.Domain}, withoutAddresses("from the fronting host", c.ended)
	}
	return p.tunnel(ctx, c.host, client, c.conn, first, greeting, c.u)
}

// Close ends the connection. After Tunnel it does nothing.
func (c *Preconnected) Close() {
	if c.pool == nil {
		return
	}
	c.conn.Close()
	c.u.end()
	c.greeting.Release()
	c.pool.preconnects.release()
	c.pool = nil
}
