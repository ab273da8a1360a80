package wsconn

import (
	"errors"
	"net"
)

var errHeadTooLong = errors.New("head too long")

// headReader reads the head of a request or an answer, and no more than left
// bytes. It keeps its first error, since the parser takes half a line before
// an error for a malformed one.
type headReader struct {
	conn net.Conn
	left int
	err  error
}

func (h *headReader) Read(p []byte) (n int, err error) {
	if h.left == 0 && h.err == nil {
		h.err = errHeadTooLong
	}
	if h.err != nil {
		return 0, h.err
	}
	n, h.err = h.conn.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, h.err
}
