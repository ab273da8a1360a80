package httpconn

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"sync"
)

// exchange is what an answer has to know of its request.
type exchange struct {
	keepAlive bool
	access    Access
}

// maxPooled bounds the buffers kept for answers.
const maxPooled = 64 << 10

var answerPool = sync.Pool{New: func() any { return new([]byte) }}

// appendResponse appends a whole answer to dst, so that head and body go out
// in one write. CORS headers are there for CrossOrigin paths.
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
		dst = append(dst, "\r\nAccess-Control-Allow-Origin: *"+
			"\r\nAccess-Control-Allow-Methods: POST, OPTIONS"+
			"\r\nAccess-Control-Allow-Headers: origin, content-type"+
			"\r\nAccess-Control-Max-Age: 1728000"...)
	}
	dst = append(dst, extra...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// errorAnswer is how a transport error is told: by the status and by the body,
// since some clients read the one and some the other. A code that cannot be
// the status of a final answer with a body, or that would read as success, is
// told with 500.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
func errorAnswer(code uint32) (status int, body [4]byte) {
	status = http.StatusInternalServerError
	if code >= 300 && code <= 999 && code != http.StatusNotModified {
		status = int(code)
	}
	binary.LittleEndian.PutUint32(body[:], -code)
	return status, body
}
