package httpconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	defaultRequestTimeout = 15 * time.Second
	defaultWaitLimit      = 25 * time.Second
)

// ServerConfig configures a Server. A nil config is a config of zeros. One config may be
// used for many connections; its functions are then called concurrently.
type ServerConfig struct {
	// MaxLength limits the length of a packet in bytes, in both directions.
	// Default: 16 MiB.
	MaxLength int

	// RequestTimeout limits the time from the first byte of a request to its last.
	// It does not apply to the wait for the first byte, which only Receive's
	// context limits. Default: 15 s.
	RequestTimeout time.Duration

	// RequestRate extends RequestTimeout by a second for so many bytes that have
	// arrived. Default: not.
	RequestRate int

	// Reserve is called before the buffer of a request's body grows beyond 64 KiB,
	// with its new size in bytes, and with 0 when the request has arrived or failed.
	// With an error the request is refused with status 503, and the error is the
	// RequestError's Err. Sizes of several connections are not told apart, so each
	// needs a config of its own. Default: MaxLength is the only limit.
	Reserve func(size int) error

	// WaitLimit limits the time that a request stays open. Receive sends an empty
	// response then, if it is waiting. Default: 25 s, the default max_wait of
	// http_wait; negative: none.
	WaitLimit time.Duration

	// CheckPath returns the access to a path. Default: OfficialPath.
	CheckPath func(path string) Access
}

// Server is the server's end of one TCP or TLS connection with HTTP/1.0 or
// HTTP/1.1, for instance one whose first bytes are "POST". It has no goroutine, and
// no buffer while it waits.
//
// It refuses what an http.Server refuses, except for a request without Host, and
// beyond that what two parsers may read differently: lines without a carriage
// return, folded lines, Content-Length together with Transfer-Encoding, trailers.
//
// A connection has at most one open request. Receive reads it, and Send sends its
// response:
//
//   - While a request is open, Receive waits for its response. Pipelined requests
//     are therefore read one by one. If the client ends its stream meanwhile, Receive
//     returns io.EOF, and the response may still be sent: the client may have closed
//     one direction only.
//   - While no request is open, Send waits until Receive has read one. A program
//     with a single goroutine therefore sends once after each Receive; to send at
//     any time, call Send and Receive from two goroutines.
//
// All methods may be called concurrently; calls of Receive are serialized. After
// the connection has ended or failed, Receive and Send return the same error
// permanently: net.ErrClosed after a context that ended inside a request or response.
type Server struct {
	conn net.Conn
	// conn's, allocated once for all requests
	setDeadline, setReadDeadline, setWriteDeadline func(time.Time) error
	limits

	receiving chan struct{} // a mutex, held by Receive
	idle      chan struct{} // has a token while no request is open
	open      chan exchange // has the open request

	// Used by the holder of the idle token.
	pending []byte // received and not parsed yet
	first   [512]byte

	openSince time.Time // guarded by receiving

	waiter atomic.Pointer[context.CancelFunc] // wakes a Receive that reads while a request is open
	ended  atomic.Bool                        // the client's stream, while a request was open

	failure sync.Once
	done    chan struct{} // closed when err is set
	err     error
}

// limits is a ServerConfig with its defaults.
type limits struct {
	maxLength      int
	requestTimeout time.Duration
	requestRate    int
	reserve        func(size int) error
	waitLimit      time.Duration
	checkPath      func(string) Access
}

func newLimits(config *ServerConfig) limits {
	if config == nil {
		config = &ServerConfig{}
	}
	l := limits{
		maxLength: config.MaxLength, requestTimeout: config.RequestTimeout, requestRate: config.RequestRate,
		reserve: config.Reserve, waitLimit: config.WaitLimit, checkPath: config.CheckPath,
	}
	if l.maxLength <= 0 {
		l.maxLength = defaultMaxLength
	}
	if l.requestTimeout <= 0 {
		l.requestTimeout = defaultRequestTimeout
	}
	if l.waitLimit == 0 {
		l.waitLimit = defaultWaitLimit
	}
	if l.checkPath == nil {
		l.checkPath = OfficialPath
	}
	return l
}

// NewServer returns a Server on conn, which belongs to it afterwards. If bytes of
// the first request were read before, conn's Read must return them again.
func NewServer(conn net.Conn, config *ServerConfig) *Server {
	s := &Server{
		conn:      netx.WithDeadlines(conn),
		limits:    newLimits(config),
		receiving: make(chan struct{}, 1),
		idle:      make(chan struct{}, 1),
		open:      make(chan exchange, 1),
		done:      make(chan struct{}),
	}
	s.setDeadline, s.setReadDeadline, s.setWriteDeadline = s.conn.SetDeadline, s.conn.SetReadDeadline, s.conn.SetWriteDeadline
	s.idle <- struct{}{}
	return s
}

// Receive returns the body of the next request. The bytes belong to the caller. It
// handles OPTIONS requests itself. If a request is open, it waits for the response
// first, and sends an empty one after WaitLimit.
//
// If it refuses a request, it sends the response, and the error is *RequestError.
// If the connection ends between requests, the error is io.EOF. Both are final. If the
// client ends its stream while a request is open, it is io.EOF until the response. If
// ctx ends between requests, Receive can be called again; if ctx ends inside a
// request, the connection is closed.
func (s *Server) Receive(ctx context.Context) ([]byte, error) {
	select {
	case s.receiving <- struct{}{}:
		defer func() { <-s.receiving }()
	case <-ctx.Done():
		return nil, interrupted("receive", ctx)
	}
	if err := s.awaitIdle(ctx); err != nil {
		return nil, err
	}
	i := netx.Interrupt(ctx, s.setDeadline)
	packet, e, inside, err := s.nextPacket(i)
	ended := i.Finish()
	switch {
	case err == nil:
		s.openSince = time.Now()
		s.open <- e
		return packet, nil
	case ended != nil && !inside:
		s.idle <- struct{}{}
		return nil, interrupted("receive", ctx)
	case ended != nil:
		_ = s.fail(errInterrupted)
		return nil, fmt.Errorf("httpconn: receive: inside a request: %w", ended)
	}
	return nil, s.fail(err)
}

// errInterrupted is the final error of a connection whose call ended with its context
// inside a request or response.
var errInterrupted = fmt.Errorf("httpconn: an earlier context ended inside a request or response: %w", net.ErrClosed)

func interrupted(what string, ctx context.Context) error {
	return fmt.Errorf("httpconn: %s: %w", what, ctx.Err())
}

// awaitIdle takes the idle token, after the response to the open request. Meanwhile it
// reads, as package http's server does, and so notices the end of the client, unless the
// client has sent more.
func (s *Server) awaitIdle(ctx context.Context) error {
	select {
	case <-s.done:
		return s.err
	case <-s.idle:
		return nil
	default:
	}
	if s.ended.Load() {
		return io.EOF
	}
	if s.waitLimit <= 0 {
		return s.awaitResponse(ctx)
	}
	limited, cancel := context.WithDeadline(ctx, s.openSince.Add(s.waitLimit))
	defer cancel()
	err := s.awaitResponse(limited)
	if limited.Err() == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	select {
	case e := <-s.open:
		if err := s.writeResponse(ctx, e, http.StatusOK, nil); err != nil {
			return err
		}
	default: // Send has taken the request
	}
	return s.awaitResponse(ctx)
}

// awaitResponse is awaitIdle without WaitLimit.
func (s *Server) awaitResponse(ctx context.Context) error {
	wait, wake := context.WithCancel(ctx)
	defer wake()
	s.waiter.Store(&wake) // before a look at the token, which comes before a look at waiter
	defer s.waiter.Store(nil)
	var err error
	for err == nil && len(s.pending) == 0 && len(s.idle) == 0 && wait.Err() == nil {
		err = s.readAhead(wait)
	}
	if err != nil && !netx.IsTimeout(err) {
		select {
		case <-s.done: // for which conn was closed
			return s.err
		default:
		}
		if s.ended.Store(err == io.EOF); err == io.EOF {
			return io.EOF
		}
		return s.fail(err)
	}
	select {
	case <-s.done:
		return s.err
	case <-s.idle:
		return nil
	case <-ctx.Done():
		return interrupted("receive", ctx)
	}
}

// readAhead reads the start of the next request until ctx ends.
func (s *Server) readAhead(ctx context.Context) error {
	i := netx.Interrupt(ctx, s.setReadDeadline)
	defer i.Finish()
	n, err := s.conn.Read(s.first[:])
	if n > 0 {
		s.pending, err = s.first[:n], nil // the next read returns err again
	}
	return err
}

// nextPacket reads requests until one has a packet. inside reports whether the error
// occurred inside a request.
func (s *Server) nextPacket(i *netx.Interruption) (packet []byte, e exchange, inside bool, err error) {
	for {
		if len(s.pending) == 0 {
			n, err := s.conn.Read(s.first[:])
			if n == 0 {
				return nil, e, false, err
			}
			s.pending = s.first[:n]
		}
		packet, e, err = s.readRequest(s.newRequestTimer(i))
		if err == nil && packet == nil {
			_, err = s.conn.Write(e.appendResponse(nil, http.StatusOK, "", nil))
			if err == nil && !e.keepAlive {
				err = io.EOF
			}
		}
		if err != nil {
			s.refuse(i, e, err)
			return nil, e, true, err
		}
		i.SetDeadline(time.Time{})
		if packet != nil {
			return packet, e, false, nil
		}
	}
}

// lingerTime and lingerBytes limit reading after a refused request. Closing a TCP
// connection with unread bytes would reset it, and the client would lose the
// response.
const (
	lingerTime  = 250 * time.Millisecond
	lingerBytes = 256 << 10
)

// refuse sends the response for err if it is a *RequestError.
func (s *Server) refuse(i *netx.Interruption, e exchange, err error) {
	var refused *RequestError
	if !errors.As(err, &refused) {
		return
	}
	extra := ""
	if refused.Status == http.StatusMethodNotAllowed {
		extra = "\r\nAllow: POST"
	}
	e.keepAlive = false
	i.SetDeadline(time.Now().Add(lingerTime))
	if _, err := s.conn.Write(e.appendResponse(nil, refused.Status, extra, nil)); err != nil {
		return
	}
	if netx.CloseWrite(s.conn) == nil {
		_, _ = io.CopyN(io.Discard, s.conn, lingerBytes)
	}
}

// Send sends packet as the response to the open request, head and body with one
// write. It waits for an open request, and then for the client to read the
// response, until ctx ends. If ctx ends inside the response, the connection is
// closed.
//
// The error is ErrLength, the context's error or the final one of the connection.
func (s *Server) Send(ctx context.Context, packet []byte) error {
	if err := checkLength(len(packet), s.maxLength); err != nil {
		return fmt.Errorf("httpconn: send: %w", err)
	}
	return s.respond(ctx, http.StatusOK, packet)
}

// SendEmpty sends an empty response to the open request, which means that http_wait
// has expired. It waits as Send does.
func (s *Server) SendEmpty(ctx context.Context) error {
	return s.respond(ctx, http.StatusOK, nil)
}

// SendError sends a transport error as the response to the open request: the status
// is the code, and the 4-byte body is its negative value. For a code that is no HTTP
// status of an error, the status is 500. It waits as Send does. The connection stays
// open; servers usually close it then.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
func (s *Server) SendError(ctx context.Context, code uint32) error {
	status, body := errorResponse(code)
	return s.respond(ctx, status, body[:])
}

func (s *Server) respond(ctx context.Context, status int, body []byte) error {
	if ctx.Err() != nil {
		return interrupted("send", ctx)
	}
	select {
	case e := <-s.open:
		return s.writeResponse(ctx, e, status, body)
	case <-ctx.Done():
		return interrupted("send", ctx)
	case <-s.done:
		return s.err
	}
}

// writeResponse writes the response to e, and returns the idle token.
func (s *Server) writeResponse(ctx context.Context, e exchange, status int, body []byte) error {
	buf := responsePool.Get().(*[]byte)
	e.keepAlive = e.keepAlive && !s.ended.Load()
	*buf = e.appendResponse((*buf)[:0], status, "", body)
	i := netx.Interrupt(ctx, s.setWriteDeadline)
	_, err := s.conn.Write(*buf)
	ended := i.Finish()
	if cap(*buf) <= maxPooled {
		responsePool.Put(buf)
	}
	switch {
	case err != nil && ended != nil:
		_ = s.fail(errInterrupted)
		return fmt.Errorf("httpconn: send: inside a response: %w", ended)
	case err != nil:
		return s.fail(fmt.Errorf("httpconn: response: %w", err))
	case !e.keepAlive:
		_ = s.fail(io.EOF)
	default:
		s.idle <- struct{}{}
		if wake := s.waiter.Load(); wake != nil {
			(*wake)()
		}
	}
	return nil
}

// fail closes the connection with err as its final error, unless it has one already,
// and returns the final error.
func (s *Server) fail(err error) error {
	s.failure.Do(func() {
		s.err = err
		_ = s.conn.Close()
		close(s.done)
	})
	return s.err
}

// Close closes the connection. Receive and Send return net.ErrClosed.
func (s *Server) Close() error {
	_ = s.fail(net.ErrClosed)
	return nil
}

// LocalAddr returns the connection's local address.
func (s *Server) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr returns the connection's remote address.
func (s *Server) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }
