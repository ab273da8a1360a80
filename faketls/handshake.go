package faketls

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// helloBuffer is room for nearly every hello in use.
const helloBuffer = 2048

// readHello reads from r until parse is content, and not one byte further:
// what follows belongs to somebody else. parse returns how many bytes it
// wants along with ErrIncomplete. The buffer grows with what arrived and not
// with what was announced, and is a few bytes while nothing has.
//
// An end of input before the first byte is io.EOF, one after it
// io.ErrUnexpectedEOF. All bytes read are returned with any error.
func readHello(r io.Reader, parse func(b []byte) (n int, err error)) ([]byte, error) {
	var b []byte
	for {
		want, err := parse(b)
		if err != ErrIncomplete {
			return b, err
		}
		if len(b) == cap(b) {
			b = slices.Grow(b, min(want, max(helloBuffer, 2*len(b)))-len(b))
		}
		n, err := r.Read(b[len(b):min(want, cap(b))])
		b = b[:len(b)+n]
		if n == 0 && err != nil {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return b, err
		}
	}
}

// interruptible runs f, which uses conn, and makes it fail when ctx ends. The
// connection stays usable for the caller: its deadlines are cleared then.
func interruptible(ctx context.Context, conn net.Conn, f func() error) error {
	if ctx.Done() == nil {
		return f()
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	err := f()
	if stop() {
		return err
	}
	<-interrupted
	conn.SetDeadline(time.Time{})
	if err != nil && isTimeout(err) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}
