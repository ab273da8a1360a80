package fronting

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Replayer is a connection of which a part has been read already. Replayed
// returns that part, which becomes the caller's, and the connection to read
// the rest from: two sockets need no help of ours.
type Replayer interface {
	Replayed() ([]byte, net.Conn)
}

// Result says what became of a stranger.
type Result struct {
	// Domain is the host's that it was piped to, empty if to none.
	Domain string
	// Up and Down count the bytes to the host and from it.
	Up, Down int64
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// Pipe connects a stranger to a host, and moves bytes until both directions
// have ended or ctx has. What was read from conn must still be to be read from
// it; with a Replayer, a ClientHello at its beginning names the host. If the name
// is nobody's, or there is none, it is the first host. An end of stream on one
// side is passed on to the other, and so is a reset. Pipe closes conn when it
// returns.
//
// If the host cannot be reached, or is this proxy itself, or there are too many
// strangers (ErrBusy), Pipe reads on for 10 to 15 seconds, drawn at random, and
// says nothing: a close in answer to a stranger's bytes would give the proxy
// away.
//
// The error is for logs, and has no client's address in it. It is nil if both
// directions came to their end.
func (f *Front) Pipe(ctx context.Context, conn net.Conn) (Result, error) {
	defer conn.Close()
	first, client := apart(conn)
	h := f.choose(asked(first))
	if h == nil {
		silence(ctx, conn)
		return Result{}, errNoHost
	}
	if !f.piped.take() {
		silence(ctx, conn)
		return Result{}, ErrBusy
	}
	defer f.piped.free()
	upstream, u, err := f.connect(ctx, h, first, conn.LocalAddr())
	if err != nil {
		silence(ctx, conn)
		return Result{}, err
	}
	defer u.end()
	defer upstream.Close()
	return f.carry(ctx, h, client, upstream, first, nil, u)
}

// apart takes a stranger apart, if it can be.
func apart(conn net.Conn) (first []byte, rest net.Conn) {
	if r, ok := conn.(Replayer); ok {
		return r.Replayed()
	}
	return nil, conn
}

// connect connects to h for a stranger who has said first, at the address
// local.
func (f *Front) connect(ctx context.Context, h *host, first []byte, local net.Addr) (net.Conn, *unheard, error) {
	if err := f.hold(ctx, first); err != nil {
		return nil, nil, err
	}
	u, err := f.admit(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	conn, err := f.reach(ctx, h, local)
	if err != nil {
		u.end()
		return nil, nil, err
	}
	return conn, u, nil
}

// carry moves bytes between a stranger, who has said first already, and a host,
// which has said words.
func (f *Front) carry(ctx context.Context, h *host, client, upstream net.Conn, first, words []byte, u *unheard) (Result, error) {
	r := Result{Domain: h.Domain}
	err := f.say(ctx, client, words, &r.Down)
	if err == nil {
		err = f.say(ctx, upstream, first, &r.Up)
	}
	if err == nil {
		up, down, cut := f.move(ctx, client, upstream, u)
		r.Up, r.Down = r.Up+up.Bytes, r.Down+down.Bytes
		if cut != nil {
			return r, cut
		}
		err = errors.Join(named("to the fronting host", up.Err), named("from the fronting host", down.Err))
	}
	if ended := ctx.Err(); ended != nil && err != nil {
		return r, ended
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// One of the two is gone without a goodbye. It does not matter which.
		reset(client)
		reset(upstream)
	}
	return r, err
}

// say writes b and adds what was written to n.
func (f *Front) say(ctx context.Context, conn net.Conn, b []byte, n *int64) error {
	if len(b) == 0 {
		return nil
	}
	conn.SetWriteDeadline(time.Now().Add(f.config.Idle))
	defer conn.SetWriteDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { conn.SetWriteDeadline(longAgo) })
	defer stop()
	written, err := conn.Write(b)
	*n += int64(written)
	return named("first bytes", err)
}

// named says where an error happened, without the addresses that the net
// package puts into it: one is a client's.
func named(where string, err error) error {
	if err == nil {
		return nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s: %w", where, err)
}

// reset makes the close of conn a reset, where there is a socket below it.
func reset(conn net.Conn) {
	for {
		switch c := conn.(type) {
		case interface{ SetLinger(int) error }:
			c.SetLinger(0)
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		case Replayer:
			_, conn = c.Replayed()
		default:
			return
		}
	}
}
