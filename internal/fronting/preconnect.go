package fronting

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
)

// Preconnected is a connection to a host, opened for a client that is neither
// authenticated nor rejected yet. The host gets the client's bytes as they come,
// so that a client which is rejected in the end sees what it would see at the
// host, at the host's own time: a greeting, an answer to a part of a request, a
// close at the host's timeout.
//
// Forward may be called concurrently with Wait, and otherwise no method with
// another. After Tunnel or Close, only Close may be called.
type Preconnected struct {
	pool      *Pool // nil once it is closed or tunneled
	host      *host
	client    Client
	conn      net.Conn
	u         *unanswered
	forwarded int // bytes of the client that were sent to the host

	greeting readbuf.Reader // what the host has sent
	ended    error          // io.EOF, or why nothing more will come
}

// Preconnect connects to a host for a client that has sent first so far, perhaps
// nothing: the host that first names, or the first one. It sends nothing of the client's yet. It fails with ErrBusy if Config.MaxPreconnected
// is reached, or as Tunnel does; then the client may be left without an answer.
// The connection must be ended by Close or by Tunnel.
func (p *Pool) Preconnect(ctx context.Context, client Client, first []byte) (*Preconnected, error) {
	h := p.choose(serverName(first))
	if h == nil {
		return nil, errNoHost
	}
	if !p.preconnects.tryAcquire() {
		return nil, ErrBusy
	}
	conn, u, err := p.connect(ctx, h, client, first)
	if err != nil {
		p.preconnects.release()
		return nil, err
	}
	c := &Preconnected{pool: p, host: h, client: client, conn: conn, u: u}
	c.greeting.Reset(conn)
	return c, nil
}

// forwardTimeout bounds how long Forward waits for a host that does not read: the
// first bytes of a client fit into the socket's buffer.
const forwardTimeout = time.Second

// Forward sends the host the next bytes of the client. An error is not reported:
// Wait will return.
func (c *Preconnected) Forward(b []byte) {
	if len(b) == 0 {
		return
	}
	c.conn.SetWriteDeadline(time.Now().Add(forwardTimeout))
	n, _ := c.conn.Write(b)
	c.conn.SetWriteDeadline(time.Time{})
	c.forwarded += n
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
// host has sent meanwhile. first is all that the client has sent, with what was
// forwarded. If it names another host, the connection is closed and that host is
// dialed.
func (c *Preconnected) Tunnel(ctx context.Context, conn net.Conn, first []byte) (Result, error) {
	p := c.pool
	// A removed host keeps its connection, also if its domain has another
	// address now.
	if named := p.hosts.Load().find(serverName(first)); named != nil && named.Domain != c.host.Domain {
		c.Close()
		return p.Tunnel(ctx, conn, c.client, first)
	}
	defer conn.Close()
	if !p.tunnels.tryAcquire() {
		c.Close()
		netx.DiscardUnanswered(ctx, conn)
		return Result{}, ErrBusy
	}
	defer p.tunnels.release()
	if err := p.delay(ctx, first); err != nil {
		c.Close()
		netx.DiscardUnanswered(ctx, conn)
		return Result{}, err
	}
	greeting := c.greeting.Take()
	p.preconnects.release()
	c.pool = nil
	defer c.u.end()
	defer c.conn.Close()
	if c.ended != nil && c.ended != io.EOF {
		reset(conn) // a second read of the socket would not return the error again
		return Result{Domain: c.host.Domain, Up: int64(c.forwarded)}, withoutAddresses("from the fronting host", c.ended)
	}
	r, err := p.tunnel(ctx, c.host, conn, c.conn, first[min(c.forwarded, len(first)):], greeting, c.u, c.client.Answered)
	r.Up += int64(c.forwarded)
	return r, err
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
