package wsconn

import (
	"errors"
	"fmt"
	"net"

	"github.com/mtwire/mtwire/internal/netx"
)

// ErrSubprotocol means that the sub-protocol "binary" was not negotiated: the
// client did not offer it, or the server did not echo it.
var ErrSubprotocol = errors.New(`sub-protocol "binary" not negotiated`)

// ErrTextMessage means that the peer sent a text message. MTProto uses binary ones
// only.
var ErrTextMessage = errors.New("wsconn: peer sent a text message, want binary")

// ErrBroken is the permanent error of a direction after a deadline passed inside a
// WebSocket frame: the boundary of the next frame is lost. It is net.ErrClosed
// and not a timeout, so that a loop which retries after timeouts ends.
var ErrBroken = fmt.Errorf("wsconn: an earlier deadline passed in the middle of a frame: %w", net.ErrClosed)

// ErrPingTimeout is the permanent error of both directions when the peer has not
// answered a ping within PingInterval.
var ErrPingTimeout = errors.New("wsconn: the peer did not answer a ping")

// HandshakeError is the error of an HTTP request that was not upgraded to
// WebSocket.
type HandshakeError struct {
	// Method and Path are the request's; on a server they come from the peer.
	Method, Path string
	// Status is the HTTP status of the server's answer, such as 302 from a host
	// that does not serve the data centre.
	Status int
	// Err is the reason.
	Err error
}

// Error returns the request, the status and the reason, with at most 200 bytes of each text
// of the peer's.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("wsconn: %s %q answered with status %d: %v",
		netx.BriefText(e.Method), netx.BriefText(e.Path), e.Status, netx.Brief(e.Err))
}

// Unwrap returns Err.
func (e *HandshakeError) Unwrap() error { return e.Err }

// CloseError is Read's error for a close frame that is neither a normal close nor a
// transport error.
type CloseError struct {
	// Status is the frame's status, such as 1012 from a server that restarts.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
	Status int
	// Reason is the peer's text.
	Reason string
}

// Error returns the status and the reason.
func (e *CloseError) Error() string {
	return fmt.Sprintf("wsconn: peer closed with status %d, reason %q", e.Status, e.Reason)
}
