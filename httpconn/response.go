package httpconn

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mtwire/mtwire/frame"
)

// exchange has the properties of a request that its response depends on.
type exchange struct {
	keepAlive bool
	access    Access
}

// crossOriginHeader are the fields for pages of other origins.
//
// Specification: https://core.telegram.org/mtproto/transports#uri-format
var crossOriginHeader = [...][2]string{
	{"Access-Control-Allow-Origin", "*"},
	{"Access-Control-Allow-Methods", "POST, OPTIONS"},
	{"Access-Control-Allow-Headers", "origin, content-type"},
	{"Access-Control-Max-Age", "1728000"},
}

// maxPooled limits the size of pooled buffers for responses.
const maxPooled = 64 << 10

var responsePool = sync.Pool{New: func() any { return new([]byte) }}

// appendResponse appends a whole response to dst, so that head and body are sent
// with one write. For CrossOrigin paths it has CORS headers.
//
// Specification: https://core.telegram.org/mtproto/transports#http
func (e exchange) appendResponse(dst []byte, status int, extra string, body []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	if e.keepAlive {
		dst = append(dst, "\r\nConnection: keep-alive"...)
	} else {
		dst = append(dst, "\r\nConnection: close"...)
	}
	if len(body) > 0 {
		dst = append(dst, "\r\nContent-Type: application/octet-stream"...)
	}
	dst = append(dst, "\r\nPragma: no-cache\r\nCache-Control: no-store"...)
	if e.access == CrossOrigin {
		for _, field := range crossOriginHeader {
			dst = append(append(append(append(dst, "\r\n"...), field[0]...), ": "...), field[1]...)
		}
	}
	dst = append(dst, extra...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// errorResponse returns the response for a transport error. Both status and body
// have the code, because some clients read only one of them. The status is 500 if
// the code is no HTTP status of an error whose response has a body.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
func errorResponse(code uint32) (status int, body [4]byte) {
	status = http.StatusInternalServerError
	if code >= 300 && code <= 999 && code != http.StatusNotModified {
		status = int(code)
	}
	binary.LittleEndian.PutUint32(body[:], -code)
	return status, body
}

// maxErrorBody is the number of bytes that are read of an error's body, so that the
// connection can be reused. The body is ignored.
const maxErrorBody = 4 << 10

// errorBodyTime limits the time for that, after which the connection is closed.
const errorBodyTime = time.Second

// readResponse returns the packet in the response to a POST. Packet and error are
// nil for a response without one: an empty body, which means that http_wait has
// expired, or four zero bytes.
//
// Servers send a transport error as the status, as a negative 32-bit integer in the
// body of a 200, or as both.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
func readResponse(resp *http.Response, maxLength int, memory *responseMemory) ([]byte, error) {
	if resp.StatusCode < 200 { // 101: the body is the connection, which has no deadline
		return nil, &PostError{Err: fmt.Errorf("the server responded %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
	}
	if resp.StatusCode >= 300 {
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
		return nil, &frame.TransportError{Code: uint32(resp.StatusCode)}
	}
	if err := memory.resize(firstBuffer(resp.ContentLength, maxLength)); err != nil {
		return nil, &PostError{Err: fmt.Errorf("response: %w", err)}
	}
	body, err := readBody(resp.Body, resp.ContentLength, maxLength, memory.resize)
	switch {
	case err != nil:
		return nil, &PostError{Err: fmt.Errorf("response: %w", err)}
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
		return nil, &PostError{Err: fmt.Errorf("response: %w", err)}
	}
	return body, nil
}

// responseMemory is the memory for one response, in bytes.
type responseMemory struct {
	reserve func(change int) error // nil: no limit
	size    int
}

// resize reserves memory before a buffer has so many bytes.
func (m *responseMemory) resize(size int) error {
	if m.reserve == nil || size == m.size {
		return nil
	}
	if err := m.reserve(size - m.size); err != nil {
		return err
	}
	m.size = size
	return nil
}

// free gives the memory back.
func (m *responseMemory) free() {
	if m.reserve != nil && m.size > 0 {
		_ = m.reserve(-m.size)
		m.size = 0
	}
}
