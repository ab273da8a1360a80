// Package relay moves bytes between two connections. It knows nothing of what
// they mean.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/readbuf"
)

// DefaultLinger is how long one direction may stay silent after the other has
// ended.
const DefaultLinger = time.Minute

// Flow is one direction: what is read from Src is written to Dst.
type Flow struct {
	Dst, Src net.Conn
}

// Result says what one direction moved, and what ended it: nil for the end of
// the stream.
type Result struct {
	Bytes int64
	Err   error
}

// Run moves bytes in both directions until both have ended. When one ends, its
// destination is told so by a half-close, and the other direction goes on; it
// is cut off when nothing has moved in it for linger (0 means DefaultLinger).
//
// An error in one direction ends both, and so does the end of ctx. The first
// error is what is reported: the other direction's is its consequence. Run
// closes none of the connections, but after an error they are of no use.
func Run(ctx context.Context, up, down Flow, linger time.Duration) (upward, downward Result) {
	if linger == 0 {
		linger = DefaultLinger
	}
	abort := func() {
		for _, f := range []Flow{up, down} {
			f.Src.SetReadDeadline(longAgo)
			f.Dst.SetWriteDeadline(longAgo)
		}
	}
	stop := context.AfterFunc(ctx, abort)
	defer stop()

	var failed, lingering atomic.Bool
	// limit gives a direction linger from now, to read something and to be
	// read from. An abort that comes at the same moment has the last word.
	limit := func(f Flow) {
		until := time.Now().Add(linger)
		f.Src.SetReadDeadline(until)
		f.Dst.SetWriteDeadline(until)
		if failed.Load() || ctx.Err() != nil {
			abort()
		}
	}
	run := func(f, other Flow) (r Result) {
		r.Bytes, r.Err = transfer(f.Dst, f.Src, func() {
			if lingering.Load() {
				limit(f)
			}
		})
		if r.Err == nil {
			r.Err = closeWrite(f.Dst)
		}
		switch {
		case r.Err == nil:
			lingering.Store(true)
			limit(other)
		case failed.Swap(true):
			r.Err = nil
		default:
			abort()
			if ended := ctx.Err(); ended != nil {
				r.Err = ended
			}
		}
		return r
	}
	var both sync.WaitGroup
	both.Go(func() { downward = run(down, up) })
	upward = run(up, down)
	both.Wait()
	return upward, downward
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// closeWrite ends dst's stream. A carrier without half-close (WebSocket) has
// no way to say it, and is closed by the caller in the end.
func closeWrite(dst net.Conn) error {
	half, ok := dst.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Copy moves bytes from src to dst until src ends, and returns how many. From
// TCP to TCP the kernel does it, where it can. Otherwise a buffer is borrowed
// while there are bytes to move.
func Copy(dst, src net.Conn) (int64, error) { return transfer(dst, src, func() {}) }

// transfer is Copy that calls progress whenever bytes have been moved.
func transfer(dst, src net.Conn, progress func()) (total int64, err error) {
	if to, ok := dst.(*net.TCPConn); ok {
		if from, ok := src.(*net.TCPConn); ok {
			var handled bool
			if total, handled, err = copySockets(to, from, progress); handled {
				return total, err
			}
		}
	}
	var r readbuf.Reader
	r.Reset(src)
	defer r.Release()
	for {
		if err := r.Fill(); err != nil {
			if err == io.EOF {
				err = nil
			}
			return total, err
		}
		n, err := dst.Write(r.Bytes())
		total += int64(n)
		if err != nil {
			return total, err
		}
		r.Consume(n)
		progress()
	}
}
