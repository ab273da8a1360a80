package httpconn

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

// maxHead bounds request line and headers together.
const maxHead = 8 << 10

var errHeadTooLong = fmt.Errorf("head over %d bytes", maxHead)

var readerPool = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// source is the connection as the parser sees it: bytes that came before
// first, and a limit while the head is read. It keeps its first error, since
// the parser takes half a line before an error for a malformed one.
type source struct {
	pending []byte
	conn    net.Conn
	left    int // bytes the head may still take; negative is no limit
	err     error
}

func (s *source) Read(p []byte) (n int, err error) {
	if s.left == 0 && s.err == nil {
		s.err = errHeadTooLong
	}
	if s.err != nil {
		return 0, s.err
	}
	if s.left > 0 && len(p) > s.left {
		p = p[:s.left]
	}
	if len(s.pending) > 0 {
		n = copy(p, s.pending)
		s.pending = s.pending[n:]
	} else {
		n, s.err = s.conn.Read(p)
	}
	if s.left > 0 {
		s.left -= n
	}
	return n, s.err
}

// readRequest reads one request, whose first bytes are in s.pending, and
// leaves there what came behind it. The packet is nil for an OPTIONS request.
// A *RequestError is still to be answered.
//
// Specification: https://core.telegram.org/mtproto/transports#http
func (s *Server) readRequest() (packet []byte, e exchange, err error) {
	src := &source{pending: s.pending, conn: s.conn, left: maxHead}
	br := readerPool.Get().(*bufio.Reader)
	br.Reset(src)
	defer func() {
		rest, _ := br.Peek(br.Buffered())
		s.pending = nil
		if len(rest)+len(src.pending) > 0 {
			s.pending = append(append([]byte(nil), rest...), src.pending...)
		}
		br.Reset(nil)
		readerPool.Put(br)
	}()

	// An empty or missing Host is fine: TDLib sends an empty one.
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, e, refusal(nil, http.StatusBadRequest, cmp.Or(src.err, err))
	}
	src.left = -1
	e = exchange{keepAlive: !r.Close, access: s.checkPath(r.URL.Path)}
	if status, err := s.checkHead(r, e.access); err != nil {
		return nil, e, refusal(r, status, err)
	}
	if r.Method == http.MethodOptions {
		return nil, e, nil
	}
	if r.Header.Get("Expect") != "" {
		if _, err := io.WriteString(s.conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, e, err
		}
	}
	packet, err = readBody(r.Body, r.ContentLength, s.maxLength)
	switch {
	case errors.Is(err, ErrLength):
		err = refusal(r, http.StatusRequestEntityTooLarge, err)
	case err != nil:
		err = refusal(r, http.StatusBadRequest, err)
	default:
		if err = checkLength(len(packet), s.maxLength); err != nil {
			err = refusal(r, http.StatusNotFound, err)
		}
	}
	return packet, e, err
}

// checkHead decides by the head alone, before the body is read.
func (s *Server) checkHead(r *http.Request, access Access) (status int, err error) {
	options := r.Method == http.MethodOptions && access == CrossOrigin
	expect := r.Header.Get("Expect")
	switch {
	case r.ProtoMajor != 1:
		return http.StatusHTTPVersionNotSupported, errors.New("not HTTP/1")
	case access == Refused:
		return http.StatusNotFound, errors.New("no such path")
	case r.Method != http.MethodPost && !options:
		return http.StatusMethodNotAllowed, errors.New("want POST")
	case expect != "" && (!strings.EqualFold(expect, "100-continue") || !r.ProtoAtLeast(1, 1)):
		return http.StatusExpectationFailed, fmt.Errorf("unknown expectation %q", expect)
	case options && r.ContentLength != 0:
		return http.StatusBadRequest, errors.New("OPTIONS with a body")
	case options || r.ContentLength < 0:
		return 0, nil
	case r.ContentLength > int64(s.maxLength):
		return http.StatusRequestEntityTooLarge, fmt.Errorf("%w: %d bytes announced, limit %d",
			ErrLength, r.ContentLength, s.maxLength)
	}
	// MTProxy answers 404 to a body that cannot be a packet.
	return http.StatusNotFound, checkLength(int(r.ContentLength), s.maxLength)
}

// refusal turns an error while reading into a *RequestError, if there is still
// somebody to tell.
func refusal(r *http.Request, status int, err error) error {
	var network net.Error
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		status, err = http.StatusRequestTimeout, errors.New("the request did not arrive in time")
	case errors.As(err, &network) || errors.Is(err, io.ErrClosedPipe):
		return err
	case errors.Is(err, errHeadTooLong):
		status = http.StatusRequestHeaderFieldsTooLarge
	}
	e := &RequestError{Status: status, Err: err}
	if r != nil {
		e.Method, e.Path = r.Method, r.URL.Path
	}
	return e
}
