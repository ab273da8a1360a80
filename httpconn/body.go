package httpconn

import (
	"fmt"
	"io"
)

// bodyStep is the largest buffer that a Content-Length alone allocates. Beyond it,
// the buffer grows with the bytes received.
const bodyStep = 64 << 10

// readBody reads r to its end. announced is the expected length, or negative if
// unknown; it need not be right. If there are more than limit bytes, the error is
// ErrLength. Before the buffer grows, reserve is called with its new size; it may be
// nil, and its error ends readBody.
func readBody(r io.Reader, announced int64, limit int, reserve func(size int) error) ([]byte, error) {
	// With one byte more than the body, EOF needs no larger buffer.
	room := int64(limit) + 1
	if announced >= 0 {
		room = min(int64(limit), announced) + 1 // a peer may announce the largest integer
	}
	b := make([]byte, 0, firstBuffer(announced, limit))
	for {
		if held := int64(len(b)); held == int64(cap(b)) {
			if held >= room {
				room = int64(limit) + 1 // the body is longer than announced
			}
			size := min(2*held+1, room)
			if reserve != nil {
				if err := reserve(int(size)); err != nil {
					return nil, err
				}
			}
			b = append(make([]byte, 0, size), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if len(b) > limit {
			return nil, fmt.Errorf("%w: over %d bytes", ErrLength, limit)
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// firstBuffer returns the size of the buffer with which readBody begins.
func firstBuffer(announced int64, limit int) int {
	if announced < 0 {
		announced = int64(limit)
	}
	return int(min(announced, int64(limit), bodyStep-1)) + 1
}
