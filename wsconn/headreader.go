//go:build !js

package wsconn

import (
	"errors"
	"net"

	"github.com/mtwire/mtwire/internal/netx"
)

var errHeadTooLong = errors.New("head too long")

// headReader limits the head of a request or response to left bytes, and checks that
// of a request. It keeps the first error of the connection, because the parser only reports that the line
// before the error is malformed.
type headReader struct {
	conn    net.Conn
	left    int
	request *netx.RequestHead // nil for a response
	err     error
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
	if h.request != nil {
		checked, err := h.request.Check(p[:n])
		if err != nil {
			n, h.err = checked, err
		}
	}
	return n, h.err
}
