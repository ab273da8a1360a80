package httpconn

import (
	"errors"
	"fmt"

	"github.com/mtwire/mtwire/internal/netx"
)

// minLength is the length of the shortest packet, in bytes. A body of 4 bytes is a
// transport error.
const minLength = 8

// defaultMaxLength is the default limit on the length of a packet, in bytes. The
// limit of MTProxy is 1,044,480.
const defaultMaxLength = 16 << 20

// ErrLength means that a body is no MTProto packet: its length is below 8, not a
// multiple of 4, or above the limit.
var ErrLength = errors.New("not the length of a packet")

// checkLength returns ErrLength unless n can be the length of a packet. It is used
// by client and server, for both directions.
func checkLength(n, limit int) error {
	if n < minLength || n%4 != 0 || n > limit {
		return fmt.Errorf("%w: %d bytes, want a multiple of 4 in %d..%d", ErrLength, n, minLength, limit)
	}
	return nil
}

// RequestError is the error of a request that a Server refused. The Server has sent
// a response with Status and closed the connection.
type RequestError struct {
	// Method and Path come from the client. They are empty if the head could not
	// be parsed.
	Method, Path string
	// Status is the status of the response: 400 malformed, 404 wrong path or
	// length, 405 wrong method, 408 timeout, 413 body over the limit, 417 unknown
	// expectation, 431 head over 8 KiB, 503 no memory (ServerConfig.Reserve),
	// 505 not HTTP/1.
	Status int
	// Err is the reason.
	Err error
}

// Error returns the request, the status and the reason, with at most 200 bytes of each text
// of the client's.
func (e *RequestError) Error() string {
	return fmt.Sprintf("httpconn: %s %q answered with status %d: %v",
		netx.BriefText(e.Method), netx.BriefText(e.Path), e.Status, netx.Brief(e.Err))
}

// Unwrap returns Err.
func (e *RequestError) Unwrap() error { return e.Err }

// PostError is the error of one POST of a Client without a valid response. The
// server may or may not have received the packet. The Client remains usable. A goroutine
// that calls Receive leaves it to another one to send the packet again: Send may wait
// until Receive has returned what has arrived.
type PostError struct {
	// Packet is the packet that was posted, for a caller that sends it again. It
	// belongs to the caller.
	Packet []byte
	// Err is the reason: a network error, or an invalid response.
	Err error
}

// Error returns the reason, of which at most 200 bytes.
func (e *PostError) Error() string { return fmt.Sprintf("httpconn: post: %v", netx.Brief(e.Err)) }

// Unwrap returns Err.
func (e *PostError) Unwrap() error { return e.Err }
