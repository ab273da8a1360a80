package httpconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	defaultRequestTimeout = 15 * time.Second
	defaultWaitLimit      = 25 * time.Second
)

// ServerConfig configures a Server. A nil config is a config of zeros.
type ServerConfig struct {
	// MaxLength bounds a packet in bytes, in both directions. Default: 16 MiB.
	MaxLength int

	// RequestTimeout bounds the time from the first byte of a request to its
	// last. Waiting for a first byte is bounded by the context of Receive
	// alone. Default: 15 s.
	RequestTimeout time.Duration

	// WaitLimit is how long a request may stay without an answer before
	// Receive, which waits for it, answers it with an empty body. Default:
	// 25 s, the default max_wait of http_wait; negative: never.
	WaitLimit time.Duration

	// CheckPath says how to treat a path. Default: OfficialPath.
	CheckPath func(path string) Access
}

// Server is the server's end of one TCP or TLS connection that speaks HTTP/1.0
// or 1.1, for instance one whose first bytes were found to be "POST". It has
// no goroutine, and no buffer while it waits.
//
// A connection has at most one open request. Receive reads it and Send answers
// it, in turn:
//
//   - Receive waits while a request is open, until it is answered. A client
//     that sends requests without waiting finds them read one by one.
//   - Send waits while no request is open, until Receive has read one. So a
//     program that calls both from one goroutine sends once for each packet,
//     and one that has more to say calls them from two.
//
// All methods may be called at the same time; two Receives wait for each
// other. A connection that ended or failed has one error for ever, which both
// return.
type Server struct {
	conn           net.Conn
	maxLength      int
	requestTimeout time.Duration
	waitLimit      time.Duration
	checkPath      func(string) Access

	receiving chan struct{} // taken by the Receive that is running
	idle      chan struct{} // holds a token while no request is open
	open      chan exchange // holds the open request

	// Used by the holder of the idle token.
	pending []byte // came, and not looked at yet
	first   [512]byte

	openSince time.Time // used by the holder of receiving

	failure sync.Once
	done    chan struct{} // closed when err is set
	err     error
}

// NewServer serves HTTP on conn, which it owns from then on. Bytes of the
// request that were read before must be what conn gives first.
func NewServer(conn net.Conn, config *ServerConfig) *Server {
	if config == nil {
		config = &ServerConfig{}
	}
	s := &Server{
		conn:           conn,
		maxLength:      config.MaxLength,
		requestTimeout: config.RequestTimeout,
		waitLimit:      config.WaitLimit,
		checkPath:      config.CheckPath,
		receiving:      make(chan struct{}, 1),
		idle:           make(chan struct{}, 1),
		open:           make(chan exchange, 1),
		done:           make(chan struct{}),
	}
	if s.maxLength <= 0 {
		s.maxLength = defaultMaxLength
	}
	if s.requestTimeout <= 0 {
		s.requestTimeout = defaultRequestTimeout
	}
	if s.waitLimit == 0 {
		s.waitLimit = defaultWaitLimit
	}
	if s.checkPath == nil {
		s.checkPath = OfficialPath
	}
	s.idle <- struct{}{}
	return s
}

// Receive returns the body of the next request; the bytes are the caller's.
// It answers OPTIONS requests itself. If a request is open, it waits for the
// answer first, and gives an empty one after WaitLimit.
//
// A request that is refused has been answered and makes the error
// *RequestError. The end of the connection between requests is io.EOF. Both
// are the connection's last. If ctx ends while nothing has come, Receive can
// be called again; if it ends inside a request, the connection is closed.
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
	i := netx.Interrupt(ctx, s.conn.SetDeadline)
	packet, e, inside, err := s.nextPacket(i)
	cause := i.Finish()
	switch {
	case err == nil:
		s.openSince = time.Now()
		s.open <- e
		return packet, nil
	case cause != nil && !inside:
		s.idle <- struct{}{}
		return nil, interrupted("receive", ctx)
	case cause != nil:
		err = fmt.Errorf("httpconn: receive: inside a request: %w", cause)
	}
	return nil, s.fail(err)
}

func interrupted(what string, ctx context.Context) error {
	return fmt.Errorf("httpconn: %s: %w", what, ctx.Err())
}

// awaitIdle takes the idle token, when the open request has been answered.
func (s *Server) awaitIdle(ctx context.Context) error {
	select {
	case <-s.done:
		return s.err
	case <-s.idle:
		return nil
	default:
	}
	var expired <-chan time.Time
	if s.waitLimit > 0 {
		timer := time.NewTimer(s.waitLimit - time.Since(s.openSince))
		defer timer.Stop()
		expired = timer.C
	}
	for {
		select {
		case <-s.done:
			return s.err
		case <-s.idle:
			return nil
		case <-ctx.Done():
			return interrupted("receive", ctx)
		case <-expired:
			select {
			case e := <-s.open:
				if err := s.answer(ctx, e, http.StatusOK, nil); err != nil {
					return err
				}
			default: // Send is about to answer it
			}
		}
	}
}

// nextPacket reads requests until one carries a packet. Inside says whether a
// request had begun when an error came.
func (s *Server) nextPacket(i *netx.Interruption) (packet []byte, e exchange, inside bool, err error) {
	for {
		if len(s.pending) == 0 {
			n, err := s.conn.Read(s.first[:])
			if n == 0 {
				return nil, e, false, err
			}
			s.pending = s.first[:n]
		}
		i.SetDeadline(time.Now().Add(s.requestTimeout))
		packet, e, err = s.readRequest()
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

// lingerTime and lingerBytes bound what is read after a refusal. Closing a
// TCP connection with unread bytes resets it, and the peer loses the answer.
const (
	lingerTime  = 250 * time.Millisecond
	lingerBytes = 256 << 10
)

// refuse answers a request that is refused; other errors it leaves alone.
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

// Send answers the open request with packet, head and body in one write. While
// no request is open it waits, as long as ctx allows. So it does for a client
// that does not take the answer; if ctx ends then, the connection is closed.
//
// The error is ErrLength for what cannot be a packet, the context's, or the
// connection's last.
func (s *Server) Send(ctx context.Context, packet []byte) error {
	if err := checkLength(len(packet), s.maxLength); err != nil {
		return fmt.Errorf("httpconn: send: %w", err)
	}
	return s.respond(ctx, http.StatusOK, packet)
}

// SendEmpty answers the open request with an empty body, which says that
// http_wait ran out. It waits as Send does.
func (s *Server) SendEmpty(ctx context.Context) error {
	return s.respond(ctx, http.StatusOK, nil)
}

// SendError answers the open request with a transport error: the code as the
// status, and negative as the 4-byte body. A code that is no HTTP status of an
// error has the status 500. It waits as Send does. The connection stays open;
// servers usually close it then.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
func (s *Server) SendError(ctx context.Context, code uint32) error {
	status, body := errorAnswer(code)
	return s.respond(ctx, status, body[:])
}

func (s *Server) respond(ctx context.Context, status int, body []byte) error {
	if ctx.Err() != nil {
		return interrupted("send", ctx)
	}
	select {
	case e := <-s.open:
		return s.answer(ctx, e, status, body)
	case <-ctx.Done():
		return interrupted("send", ctx)
	case <-s.done:
		return s.err
	}
}

// answer writes the answer to e, and puts the idle token back.
func (s *Server) answer(ctx context.Context, e exchange, status int, body []byte) error {
	buf := answerPool.Get().(*[]byte)
	*buf = e.appendResponse((*buf)[:0], status, "", body)
	i := netx.Interrupt(ctx, s.conn.SetDeadline)
	_, err := s.conn.Write(*buf)
	cause := i.Finish()
	if cap(*buf) <= maxPooled {
		answerPool.Put(buf)
	}
	switch {
	case err != nil && cause != nil:
		return s.fail(fmt.Errorf("httpconn: inside an answer: %w", cause))
	case err != nil:
		return s.fail(fmt.Errorf("httpconn: answer: %w", err))
	case !e.keepAlive:
		_ = s.fail(io.EOF)
	default:
		s.idle <- struct{}{}
	}
	return nil
}

// fail ends the connection with err, unless it has ended, and returns the
// error that it ended with.
func (s *Server) fail(err error) error {
	s.failure.Do(func() {
		s.err = err
		_ = s.conn.Close()
		close(s.done)
	})
	return s.err
}

// Close closes the connection, and ends Receive and Send with net.ErrClosed.
func (s *Server) Close() error {
	_ = s.fail(net.ErrClosed)
	return nil
}

// LocalAddr is the connection's local address.
func (s *Server) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr is the connection's remote address.
func (s *Server) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }
