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
// Forward may be called concurrently with Await and Wait, and otherwise no method
// with another. After Tunnel or Close, only Close may be called.
type Preconnected struct {
	pool      *Pool // nil once it is closed or tunneled
	host      *host
	client    Client
	conn      net.Conn
	u         *unanswered
	forwarded int // bytes of the client that were sent to the host

	stopAwait func()         // nil without Await
	greeting  readbuf.Reader // what the host has sent
	ended     error          // io.EOF, or why nothing more will come
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

// Await calls ready, once and in a goroutine of its own, when Wait would return
// nil, perhaps at once. Then Wait is due, which does not block. Await returns false,
// and does nothing, if the Pool has no Poller or the connection cannot wait in it.
// A call of ready that has begun may go on after Tunnel or Close has been called.
func (c *Preconnected) Await(ready func()) (ok bool) {
	c.stopAwait, ok = c.pool.poller.Load().Await(c.conn, ready)
	return ok
}

// Tunnel is Pool.Tunnel over the connection that is open already, with what the
// host has sent meanwhile. first is all that the client has sent, with what was
// forwarded. If it names another host, the connection is closed and that host is
// dialed.
func (c *Preconnected) Tunnel(ctx context.Context, conn net.Conn, first []byte) (Result, error) {
	return await(func(done func(Result, error)) { c.StartTunnel(ctx, conn, first, done) })
}

// StartTunnel is to Tunnel what Pool.StartTunnel is to Pool.Tunnel.
func (c *Preconnected) StartTunnel(ctx context.Context, conn net.Conn, first []byte, done func(Result, error)) {
	p := c.pool
	// A removed host keeps its connection, also if its domain has another
	// address now.
	if named := p.hosts.Load().find(serverName(first)); named != nil && named.Domain != c.host.Domain {
		c.Close()
		p.StartTunnel(ctx, conn, c.client, first, done)
		return
	}
	if !p.tunnels.tryAcquire() {
		c.Close()
		leaveUnanswered(ctx, conn, ErrBusy, done)
		return
	}
	if err := p.delay(ctx, first); err != nil {
		c.Close()
		p.tunnels.release()
		leaveUnanswered(ctx, conn, err, done)
		return
	}
	greeting := c.greeting.Take()
	c.leave()
	t := &tunnel{
		pool:   p,
		result: Result{Domain: c.host.Domain, Up: int64(c.forwarded)},
		client: conn, upstream: c.conn, u: c.u, answered: c.client.Answered, progress: c.client.Moved, done: done,
	}
	if c.ended != nil && c.ended != io.EOF {
		reset(conn) // a second read of the socket would not return the error again
		t.close(withoutAddresses("from the fronting host", c.ended))
		return
	}
	t.start(ctx, first[min(c.forwarded, len(first)):], greeting)
}

// leave takes the connection out of those that are preconnected.
func (c *Preconnected) leave() {
	if c.stopAwait != nil {
		c.stopAwait()
	}
	c.pool.preconnects.release()
	c.pool = nil
}

// Close ends the connection. After Tunnel it does nothing.
func (c *Preconnected) Close() {
	if c.pool == nil {
		return
	}
	c.leave()
	c.conn.Close()
	c.u.end()
	c.greeting.Release()
}
