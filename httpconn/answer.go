package httpconn

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"

	"github.com/mtwire/mtwire/frame"
)

// maxErrorBody is how much of an error's body is read, so that the connection
// can be used again; the body means nothing.
const maxErrorBody = 4 << 10

// readAnswer turns an answer to a POST into a packet. Both are nil for an
// answer that says nothing: an empty body, when http_wait ran out, or four
// zero bytes.
//
// Servers tell a transport error by the status, by a negative 32-bit integer
// as the body of a 200, or by both.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
func readAnswer(resp *http.Response, maxLength int) ([]byte, error) {
	if resp.StatusCode >= 300 {
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
		return nil, &frame.TransportError{Code: uint32(resp.StatusCode)}
	}
	body, err := readBody(resp.Body, resp.ContentLength, maxLength)
	switch {
	case err != nil:
		return nil, &PostError{Err: fmt.Errorf("answer: %w", err)}
	case len(body) == 0:
		return nil, nil
	case len(body) == 4:
		value := int32(binary.LittleEndian.Uint32(body))
		if value == 0 {
			return nil, nil
		}
		if value < 0 {
			return nil, &frame.TransportError{Code: uint32(-int64(value))}
		}
	}
	if err := checkLength(len(body), maxLength); err != nil {
		return nil, &PostError{Err: fmt.Errorf("answer: %w", err)}
	}
	return body, nil
}
