package fronting

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/splice"
)

// Result describes a tunnel that has ended.
type Result struct {
	// Domain is the domain of the host, empty if none was connected.
	Domain string
	// Up and Down count the bytes to the host and from it.
	Up, Down int64
}

// Tunnel connects an unauthenticated client to a host and copies bytes until
// both directions have ended or ctx has. client is the addresses of its connection
// conn. first is what was read from conn already; it may be empty, and Tunnel may
// keep it. The server name of a ClientHello at its beginning chooses the host;
// without a known name it is the first host. An end of stream is passed on from
// each side to the other, and so is a reset, behind all bytes that came before it.
// Tunnel closes conn when it returns.
//
// If the host is unreachable or is this proxy itself, or if too many clients are
// tunneled (ErrBusy), Tunnel reads on without an answer, as
// netx.DiscardUnanswered does: an immediate close would give the proxy away.
//
// The error is for logs and never has the client's address in it. It is nil if
// both directions ended with an end of stream.
func (p *Pool) Tunnel(ctx context.Context, conn net.Conn, client Client, first []byte) (Result, error) {
	return await(func(done func(Result, error)) { p.StartTunnel(ctx, conn, client, first, done) })
}

// StartTunnel is Tunnel, but returns when the host is connected: while no bytes
// move, a tunnel needs no goroutine if there is a Poller (SetPoller). It calls done
// once, when Tunnel would return, perhaps before StartTunnel returns. ctx must last
// until then.
func (p *Pool) StartTunnel(ctx context.Context, conn net.Conn, client Client, first []byte, done func(Result, error)) {
	h := p.choose(serverName(first))
	if h == nil {
		leaveUnanswered(ctx, conn, errNoHost, done)
		return
	}
	if !p.tunnels.tryAcquire() {
		leaveUnanswered(ctx, conn, ErrBusy, done)
		return
	}
	upstream, u, err := p.connect(ctx, h, client, first)
	if err != nil {
		leaveUnanswered(ctx, conn, err, func(r Result, err error) {
			p.tunnels.release()
			done(r, err)
		})
		return
	}
	t := &tunnel{pool: p, result: Result{Domain: h.Domain}, client: conn, upstream: upstream, u: u, answered: client.Answered, progress: client.Moved, done: done}
	t.start(ctx, first, nil)
}

// await starts a tunnel and waits for its end.
func await(start func(done func(Result, error))) (result Result, err error) {
	ended := make(chan struct{})
	start(func(r Result, e error) {
		result, err = r, e
		close(ended)
	})
	<-ended
	return result, err
}

// leaveUnanswered reads on from a client that is not tunneled because of cause, and
// answers nothing.
func leaveUnanswered(ctx context.Context, conn net.Conn, cause error, done func(Result, error)) {
	netx.DiscardUnanswered(ctx, conn)
	conn.Close()
	done(Result{}, cause)
}

// connect dials h for a client that has sent first.
func (p *Pool) connect(ctx context.Context, h *host, client Client, first []byte) (net.Conn, *unanswered, error) {
	if err := p.delay(ctx, first); err != nil {
		return nil, nil, err
	}
	u, err := p.acquire(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	conn, err := p.dialForClient(ctx, h, client)
	if err != nil {
		u.end()
		return nil, nil, err
	}
	return conn, u, nil
}

var errIdle = errors.New("no bytes in either direction for the idle timeout")

// idleChecks is how often within the idle timeout a tunnel's byte counts are
// compared.
const idleChecks = 4

// tunnel is a client with its host. It holds one place of Pool.tunnels.
type tunnel struct {
	pool             *Pool
	result           Result // without what the pair has moved
	client, upstream net.Conn
	u                *unanswered
	answered         func() // Client.Answered, nil once it was called
	progress         func() // Client.Moved
	done             func(Result, error)

	mu        sync.Mutex // held by start until all is set
	ctx       context.Context
	pair      *splice.Pair
	stop      func() bool // of what waits for the end of ctx
	idle      *time.Timer
	moved     int64 // at the last check
	unchanged int   // checks since then
	aborted   error // why the tunnel was aborted
}

// start copies bytes in both directions: first, which was read from the client
// already, and greeting, which was read from the host, go ahead.
func (t *tunnel) start(ctx context.Context, first, greeting []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ctx = ctx
	// With the default linger, a direction that is idle after the end of the other
	// one is cut off after a minute. The host's own system would not wait longer.
	t.pair = splice.Start(
		splice.Flow{Dst: t.upstream, Src: t.client, First: first, Moved: t.movedUp},
		splice.Flow{Dst: t.client, Src: t.upstream, First: greeting, Moved: t.movedDown},
		&splice.Config{Poller: t.pool.poller.Load()}, t.finish)
	t.idle = time.AfterFunc(t.pool.config.IdleTimeout/idleChecks, t.checkIdle)
	t.stop = context.AfterFunc(ctx, func() { t.abort(ctx.Err()) })
}

// movedUp is called when bytes of the client have reached the host.
func (t *tunnel) movedUp(int) {
	if t.progress != nil {
		t.progress()
	}
}

// movedDown is called when bytes of the host have reached the client.
func (t *tunnel) movedDown(int) {
	t.u.end()
	if t.answered != nil {
		t.answered()
		t.answered = nil
	}
	if t.progress != nil {
		t.progress()
	}
}

// checkIdle aborts the tunnel when nothing has moved for the idle timeout, or up to
// a quarter longer.
func (t *tunnel) checkIdle() {
	t.mu.Lock()
	up, down := t.pair.Moved()
	if t.unchanged++; up+down != t.moved {
		t.moved, t.unchanged = up+down, 0
	}
	expired := t.unchanged == idleChecks
	if !expired && t.idle != nil {
		t.idle.Reset(t.pool.config.IdleTimeout / idleChecks)
	}
	t.mu.Unlock()
	if expired {
		t.abort(errIdle)
	}
}

func (t *tunnel) abort(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.aborted == nil {
		t.aborted = cause
	}
	t.pair.Abort(cause)
}

// finish is called when the pair has ended.
func (t *tunnel) finish(up, down splice.Result) {
	t.mu.Lock()
	t.stop()
	t.idle.Stop()
	t.idle = nil
	err := t.aborted
	t.mu.Unlock()
	t.result.Up, t.result.Down = t.result.Up+up.Bytes, t.result.Down+down.Bytes
	if err == nil {
		err = errors.Join(withoutAddresses("to the fronting host", up.Err), withoutAddresses("from the fronting host", down.Err))
		if ended := t.ctx.Err(); ended != nil && err != nil {
			err = ended
		} else if err != nil && !netx.IsTimeout(err) {
			// A side has failed. The other side gets a reset, whichever it is,
			// after all bytes that were meant for it: the pair has waited for that.
			reset(t.client)
			reset(t.upstream)
		}
	}
	t.close(err)
}

// close ends the tunnel.
func (t *tunnel) close(err error) {
	t.client.Close()
	t.upstream.Close()
	t.u.end()
	t.pool.tunnels.release()
	t.done(t.result, err)
}

// withoutAddresses wraps err with the place where it happened, and drops the
// addresses that package net adds: one of them is the client's.
func withoutAddresses(where string, err error) error {
	if err == nil {
		return nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s: %w", where, err)
}

// reset makes the close of conn a TCP reset, if there is a socket below it.
func reset(conn net.Conn) {
	for {
		switch c := conn.(type) {
		case interface{ SetLinger(int) error }:
			c.SetLinger(0)
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return
		}
	}
}
