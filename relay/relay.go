// Package relay moves bytes between two connections. It knows nothing of what
// they mean.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
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
// is cut off when it stays silent for linger (0 means DefaultLinger). An error
// or the end of ctx ends both. Run closes none of the connections for good, but
// for errors: that is the caller's to do.
func Run(ctx context.Context, up, down Flow, linger time.Duration) (upward, downward Result) {
	if linger == 0 {
		linger = DefaultLinger
	}
	abort := func() {
		for _, f := range []Flow{up, down} {
			f.Src.SetReadDeadline(time.Unix(1, 0))
			f.Dst.SetWriteDeadline(time.Unix(1, 0))
		}
	}
	stop := context.AfterFunc(ctx, abort)
	defer stop()

	run := func(f, other Flow) Result {
		n, err := Copy(f.Dst, f.Src)
		if err == nil {
			err = closeWrite(f.Dst)
		}
		if err != nil {
			abort()
		} else if ctx.Err() == nil {
			other.Src.SetReadDeadline(time.Now().Add(linger))
		}
		return Result{n, err}
	}
	var both sync.WaitGroup
	both.Go(func() { downward = run(down, up) })
	upward = run(up, down)
	both.Wait()
	return upward, downward
}

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
// TCP to TCP the kernel does it. Otherwise a buffer is borrowed while there
// are bytes to move.
func Copy(dst, src net.Conn) (int64, error) {
	if to, ok := dst.(*net.TCPConn); ok {
		if from, ok := src.(*net.TCPConn); ok {
			return to.ReadFrom(from)
		}
	}
	var r readbuf.Reader
	r.Reset(src)
	defer r.Release()
	total := int64(0)
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
	}
}
