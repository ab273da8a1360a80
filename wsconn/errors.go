package wsconn

import (
	"errors"
	"fmt"
)

// ErrSubprotocol says that the peer did not agree on the sub-protocol
// "binary": the client did not offer it, or the server did not echo it.
var ErrSubprotocol = errors.New(`sub-protocol "binary" not negotiated`)

// ErrTextMessage says that the peer sent a text message, where MTProto has
// binary ones only.
var ErrTextMessage = errors.New("wsconn: peer sent a text message, want binary")

// ErrBroken is what a direction returns after a deadline passed in the middle
// of a WebSocket frame: the border of the next frame is lost. It is not a
// timeout, so that a loop that retries on timeouts ends.
var ErrBroken = errors.New("wsconn: an earlier deadline passed in the middle of a frame")

// HandshakeError says why an HTTP request did not become a WebSocket.
type HandshakeError struct {
	// Method and Path are the request's; on a server they come from the peer.
	Method, Path string
	// Status is the HTTP status that the server answered with, for instance
	// 302 from a front that does not serve the data centre asked for.
	Status int
	// Err is the reason.
	Err error
}

// Error names the request, the status and the reason.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("wsconn: %s %q answered with status %d: %v", e.Method, e.Path, e.Status, e.Err)
}

// Unwrap returns Err.
func (e *HandshakeError) Unwrap() error { return e.Err }
