package httpconn

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// maxHead limits request line and headers together, in bytes.
const maxHead = 8 << 10

var errHeadTooLong = fmt.Errorf("head over %d bytes", maxHead)

var readerPool = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// source is the parser's reader of the connection: it returns the pending bytes
// first, and limits and checks the head. It keeps the first error of the connection, because
// the parser only reports that the line before the error is malformed.
type source struct {
	pending []byte
	conn    net.Conn
	left    int // bytes left for the head; negative is no limit
	head    netx.RequestHead
	timer   requestTimer
	err     error
}

// requestTimer limits the time for a request.
type requestTimer struct {
	interruption *netx.Interruption
	until        time.Time
	rate         int // bytes a second that extend it, 0: none
}

// newRequestTimer starts the time for a request.
func (s *Server) newRequestTimer(i *netx.Interruption) requestTimer {
	t := requestTimer{i, time.Now().Add(s.requestTimeout), s.requestRate}
	i.SetDeadline(t.until)
	return t
}

// received extends the time for n bytes that have arrived.
func (t *requestTimer) received(n int) {
	if t.rate > 0 {
		t.until = t.until.Add(time.Duration(n) * time.Second / time.Duration(t.rate))
		t.interruption.SetDeadline(t.until)
	}
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
		s.timer.received(n)
	}
	if s.left > 0 {
		s.left -= n
		checked, err := s.head.Check(p[:n])
		if err != nil {
			n, s.err = checked, err
		}
	}
	return n, s.err
}

// readRequest reads one request, whose first bytes are in s.pending, and stores the
// bytes after it there. The packet is nil for an OPTIONS request. The caller sends
// the response for a *RequestError.
//
// Specification: https://core.telegram.org/mtproto/transports#http
func (s *Server) readRequest(timer requestTimer) (packet []byte, e exchange, err error) {
	src := &source{pending: s.pending, conn: s.conn, left: maxHead, timer: timer}
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

	// Host may be empty or missing: TDLib sends an empty one.
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, e, requestError(nil, http.StatusBadRequest, cmp.Or(src.err, err))
	}
	src.left = -1
	e = exchange{keepAlive: !r.Close, access: s.checkPath(r.URL.Path)}
	if status, err := s.checkHead(r, e.access); err != nil {
		return nil, e, requestError(r, status, err)
	}
	if r.Method == http.MethodOptions {
		return nil, e, nil
	}
	if r.Header.Get("Expect") != "" {
		if _, err := io.WriteString(s.conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, e, err
		}
	}
	packet, err = s.readPacket(r)
	return packet, e, err
}

// readPacket reads the packet in the body of r, whose head was checked.
func (l *limits) readPacket(r *http.Request) ([]byte, error) {
	packet, err := l.readBody(r)
	var refused *reserveError
	switch {
	case errors.As(err, &refused):
		err = requestError(r, http.StatusServiceUnavailable, refused.err)
	case errors.Is(err, ErrLength):
		err = requestError(r, http.StatusRequestEntityTooLarge, err)
	case err != nil:
		err = requestError(r, http.StatusBadRequest, err)
	case len(r.Trailer) > 0: // its lines are parsed without the checks of the head
		err = requestError(r, http.StatusBadRequest, errors.New("a trailer"))
	default:
		if err = checkLength(len(packet), l.maxLength); err != nil {
			err = requestError(r, http.StatusNotFound, err)
		}
	}
	return packet, err
}

// reserveError is an error of ServerConfig.Reserve.
type reserveError struct{ err error }

func (e *reserveError) Error() string { return e.err.Error() }

// readBody reads the body of r, and reserves the memory for it meanwhile.
func (l *limits) readBody(r *http.Request) ([]byte, error) {
	if l.reserve == nil {
		return readBody(r.Body, r.ContentLength, l.maxLength, nil)
	}
	defer l.reserve(0)
	return readBody(r.Body, r.ContentLength, l.maxLength, func(size int) error {
		if err := l.reserve(size); err != nil {
			return &reserveError{err}
		}
		return nil
	})
}

// checkHead returns the error, and the status of the response, for a request that is
// refused before its body is read.
func (l *limits) checkHead(r *http.Request, access Access) (status int, err error) {
	expect := r.Header.Get("Expect")
	switch {
	case r.ProtoMajor != 1:
		return http.StatusHTTPVersionNotSupported, errors.New("not HTTP/1")
	case access != Refused && expect != "" && (!strings.EqualFold(expect, "100-continue") || !r.ProtoAtLeast(1, 1)):
		return http.StatusExpectationFailed, fmt.Errorf("unknown expectation %q", expect)
	}
	return l.checkTarget(r, access)
}

// checkTarget is checkHead for a request of any version of HTTP.
func (l *limits) checkTarget(r *http.Request, access Access) (status int, err error) {
	options := r.Method == http.MethodOptions && access == CrossOrigin
	switch {
	case access == Refused:
		return http.StatusNotFound, errors.New("no such path")
	case r.Method != http.MethodPost && !options:
		return http.StatusMethodNotAllowed, errors.New("want POST")
	case options && r.ContentLength != 0:
		return http.StatusBadRequest, errors.New("OPTIONS with a body")
	case options || r.ContentLength < 0:
		return 0, nil
	case r.ContentLength > int64(l.maxLength):
		return http.StatusRequestEntityTooLarge, fmt.Errorf("%w: %d bytes announced, limit %d",
			ErrLength, r.ContentLength, l.maxLength)
	}
	// MTProxy also sends 404 for a length that no packet has.
	return http.StatusNotFound, checkLength(int(r.ContentLength), l.maxLength)
}

// requestError returns a *RequestError for an error of reading a request, unless
// the connection has failed or ended.
func requestError(r *http.Request, status int, err error) error {
	var network net.Error
	var parse *url.Error // a net.Error too, though none of the connection
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	case netx.IsTimeout(err):
		status, err = http.StatusRequestTimeout, errors.New("the request did not arrive in time")
	case errors.As(err, &parse):
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
