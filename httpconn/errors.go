package httpconn

import (
	"errors"
	"fmt"
)

// minLength is the shortest packet; a 4-byte body is a transport error.
const minLength = 8

// defaultMaxLength bounds a body on both sides unless the config says
// otherwise. MTProxy takes 1,044,480 bytes.
const defaultMaxLength = 16 << 20

// ErrLength says that a body cannot be an MTProto packet: its length is under
// 8, not a multiple of 4, or over the limit.
var ErrLength = errors.New("not the length of a packet")

// checkLength is the one rule for bodies that are packets, on both sides and
// in both directions.
func checkLength(n, limit int) error {
	if n < minLength || n%4 != 0 || n > limit {
		return fmt.Errorf("%w: %d bytes, want a multiple of 4 in %d..%d", ErrLength, n, minLength, limit)
	}
	return nil
}

// RequestError is a request that a Server refused. It has been answered with
// Status, and the connection is closed.
type RequestError struct {
	// Method and Path are the peer's, and empty if it did not get that far.
	Method, Path string
	// Status is what the request was answered with: 400 malformed, 404 wrong
	// path or length, 405 wrong method, 408 too slow, 413 body over the limit,
	// 417 unknown expectation, 431 head over 8 KiB, 505 not HTTP/1.
	Status int
	// Err is the reason.
	Err error
}

// Error names the request, the status and the reason.
func (e *RequestError) Error() string {
	return fmt.Sprintf("httpconn: %s %q answered with status %d: %v", e.Method, e.Path, e.Status, e.Err)
}

// Unwrap returns Err.
func (e *RequestError) Unwrap() error { return e.Err }

// PostError is one POST of a Client that brought no answer. Whether the server
// got the packet is not known; the client goes on.
type PostError struct {
	// Err is the reason: a network error, or what is wrong with the answer.
	Err error
}

// Error gives the reason.
func (e *PostError) Error() string { return fmt.Sprintf("httpconn: post: %v", e.Err) }

// Unwrap returns Err.
func (e *PostError) Unwrap() error { return e.Err }
