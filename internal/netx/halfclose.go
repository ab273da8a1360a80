package netx

import (
	"errors"
	"net"
)

// CloseWrite closes the sending direction of conn. It returns
// errors.ErrUnsupported for a connection that has no half-close, such as a
// WebSocket.
func CloseWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
