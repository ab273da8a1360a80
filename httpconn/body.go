package httpconn

import (
	"fmt"
	"io"
)

// bodyStep is the most memory taken on the word of a Content-Length; beyond
// it, memory follows the bytes that came.
const bodyStep = 64 << 10

// readBody reads r to its end. The length announced is a hint, and negative if
// unknown. More than limit bytes are refused with ErrLength.
func readBody(r io.Reader, announced int64, limit int) ([]byte, error) {
	// One byte more than the body lets the end be seen without growing.
	room := int64(limit) + 1
	if announced >= 0 {
		room = min(room, announced+1)
	}
	b := make([]byte, 0, min(room, bodyStep))
	for {
		if held := int64(len(b)); held == int64(cap(b)) {
			if held >= room {
				room = int64(limit) + 1 // more came than was announced
			}
			b = append(make([]byte, 0, min(2*held+1, room)), b...)
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
