package fronting

import (
	"context"
	"errors"
	"fmt"
	"net"

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
// keep it. The server name of a
// ClientHello at its beginning chooses the host; without a known name it is the
// first host. An end of stream is passed on from each side to the other, and so
// is a reset, behind all bytes that came before it. Tunnel closes conn when it
// returns.
//
// If the host is unreachable or is this proxy itself, or if too many clients are
// tunneled (ErrBusy), Tunnel reads on without an answer, as
// netx.DiscardUnanswered does: an immediate close would give the proxy away.
//
// The error is for logs and never has the client's address in it. It is nil if
// both directions ended with an end of stream.
func (p *Pool) Tunnel(ctx context.Context, conn net.Conn, client Client, first []byte) (Result, error) {
	defer conn.Close()
	h := p.choose(serverName(first))
	if h == nil {
		netx.DiscardUnanswered(ctx, conn)
		return Result{}, errNoHost
	}
	if !p.tunnels.tryAcquire() {
		netx.DiscardUnanswered(ctx, conn)
		return Result{}, ErrBusy
	}
	defer p.tunnels.release()
	upstream, u, err := p.connect(ctx, h, client, first)
	if err != nil {
		netx.DiscardUnanswered(ctx, conn)
		return Result{}, err
	}
	defer u.end()
	defer upstream.Close()
	return p.tunnel(ctx, h, conn, upstream, first, nil, u, client.Answered)
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

// tunnel copies both ways until both directions have ended: first, which was read
// from the client already, and greeting, which was read from the host, go ahead.
func (p *Pool) tunnel(ctx context.Context, h *host, client, upstream net.Conn, first, greeting []byte, u *unanswered, answered func()) (Result, error) {
	moved := func(int) {
		u.end()
		if answered != nil {
			answered()
			answered = nil
		}
	}
	up, down, aborted := p.copyBothWays(ctx,
		splice.Flow{Dst: upstream, Src: client, First: first},
		splice.Flow{Dst: client, Src: upstream, First: greeting, Moved: moved})
	r := Result{Domain: h.Domain, Up: up.Bytes, Down: down.Bytes}
	if aborted != nil {
		return r, aborted
	}
	err := errors.Join(withoutAddresses("to the fronting host", up.Err), withoutAddresses("from the fronting host", down.Err))
	if ended := ctx.Err(); ended != nil && err != nil {
		return r, ended
	}
	if err != nil && !netx.IsTimeout(err) {
		// A side has failed. The other side gets a reset, whichever it is, after
		// all bytes that were meant for it: the pair has waited for that.
		reset(client)
		reset(upstream)
	}
	return r, err
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
