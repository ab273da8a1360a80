// Package splice moves bytes between two connections. It knows nothing of what
// they mean.
package splice

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// DefaultLinger is how long one direction may stay silent after the other
	// has ended.
	DefaultLinger = time.Minute

	// DefaultIdle is how long a direction has a goroutine that waits for the
	// next bytes, before it is parked in a Poller.
	DefaultIdle = 200 * time.Millisecond
)

// Flow is one direction: what is read from Src is written to Dst.
//
// Without Transform, Framing and Inspect the kernel moves the bytes, where both are
// sockets and it can. With Framing alone they are read once, to where they are
// written from. In all other ways a buffer is borrowed while there are bytes.
type Flow struct {
	Dst, Src net.Conn

	// Transform changes in place what was read, and returns how much of b, from its
	// front, is to be written. If it returns an error, the direction ends with
	// it when that much is written.
	Transform func(b []byte) (n int, err error)

	// Framing puts headers between the bytes written.
	Framing *Framing

	// Inspect sees what is about to be written, before it is framed, until it
	// returns false.
	Inspect func(b []byte) (more bool)

	// Parked is called before the direction waits in the Poller: what Transform needs
	// only while bytes move can be given up.
	Parked func()

	// Moved is told each time how many bytes have been written. Headers do not
	// count, here as in Result.
	Moved func(n int)
}

// Framing is how a stream is cut into pieces with a header each. It may serve
// many flows at once.
type Framing struct {
	// HeaderLength and MaxBody are the length of a header, and of the longest
	// body, in bytes. Their sum is best a power of two, up to 16 KiB.
	HeaderLength, MaxBody int

	// PutHeader writes the header of a body of n bytes, 1 to MaxBody.
	PutHeader func(header []byte, n int)
}

// Result says what one direction moved, and what ended it: nil for the end of
// the stream.
type Result struct {
	Bytes int64
	Err   error
}

// Config is how a pair is treated. The zero value is good.
type Config struct {
	// Linger is how long one direction may stay silent after the other has
	// ended. 0 means DefaultLinger.
	Linger time.Duration

	// Poller is where directions wait that have been silent for Idle: sockets in
	// it need no goroutine. Nil means that each direction keeps its own.
	Poller *Poller

	// Idle is the time of that silence; 0 means DefaultIdle. Between half of
	// it and the whole passes until a direction is parked.
	Idle time.Duration
}

// Run moves bytes in both directions until both have ended. When one ends, its
// destination is told so by a half-close, and the other direction goes on; it
// is cut off when nothing has moved in it for linger (0 means DefaultLinger).
//
// An error in one direction ends both, and so does the end of ctx, or a reset
// from who has ended its stream (on Linux, if that is a bare socket). The first
// error is what is reported: the other direction's is its consequence. Run
// closes none of the connections, but after an error they are of no use.
func Run(ctx context.Context, up, down Flow, linger time.Duration) (upward, downward Result) {
	ended := make(chan struct{})
	p := newPair(up, down, &Config{Linger: linger}, func(u, d Result) {
		upward, downward = u, d
		close(ended)
	})
	stop := context.AfterFunc(ctx, func() { p.Abort(ctx.Err()) })
	defer stop()
	go p.down.run()
	p.up.run()
	<-ended
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
