package httpconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// ErrPreflight is Accept's error for an OPTIONS request, by which a browser asks whether
// a page may send a POST. The response was sent.
var ErrPreflight = errors.New("httpconn: an OPTIONS request, which was answered")

// Request is one POST to an http.Server, with its packet. Receive returns the packet,
// and Send, SendEmpty or SendError its response, of which there is one. A Request is to
// an http.Server what a Server is to a connection, except that requests of one
// connection, which may be those of several clients behind a proxy, are not connected.
//
// All methods may be called concurrently, until the handler of the request returns.
type Request struct {
	w         http.ResponseWriter
	r         *http.Request
	access    Access
	maxLength int
	waitLimit time.Duration
	arrived   time.Time

	mu       sync.Mutex // held to write the response
	packet   []byte     // until Receive
	answered chan struct{}
	err      error // of Send after the response
}

// Accept reads the packet of a POST to an http.Server, of HTTP/1 or HTTP/2. The caller
// answers it before its handler returns, or calls Close.
//
// Accept refuses what a Server refuses, as far as the http.Server lets it through; then
// it sends the response, and the error is *RequestError. For an OPTIONS request it is
// ErrPreflight. Other errors are the connection's.
func Accept(w http.ResponseWriter, r *http.Request, config *ServerConfig) (*Request, error) {
	l := newLimits(config)
	req := &Request{
		w: w, r: r, access: l.checkPath(r.URL.Path), maxLength: l.maxLength, waitLimit: l.waitLimit,
		arrived: time.Now(), answered: make(chan struct{}),
	}
	status, err := l.checkTarget(r, req.access)
	switch {
	case err != nil:
		err = requestError(r, status, err)
	case r.Method == http.MethodOptions:
		req.write(http.StatusOK, nil)
		return nil, ErrPreflight
	default:
		req.packet, err = l.readInTime(w, r)
	}
	if refused := (*RequestError)(nil); errors.As(err, &refused) {
		if refused.Status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", "POST")
		}
		w.Header().Set("Connection", "close")
		// The http.Server reads what is left of the body.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTime))
		req.write(refused.Status, nil)
	}
	if err != nil {
		return nil, err
	}
	return req, nil
}

// readInTime reads the packet of r within the time that its length may take.
func (l *limits) readInTime(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if l.requestTimeout < math.MaxInt64 {
		limit := l.requestTimeout
		if length := max(r.ContentLength, 0); l.requestRate > 0 {
			if length == 0 {
				length = int64(l.maxLength)
			}
			limit += time.Duration(length/int64(l.requestRate)) * time.Second
		}
		// Without support for deadlines, the http.Server's ReadTimeout applies.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit))
	}
	packet, err := l.readPacket(r)
	if err == nil {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	return packet, err
}

// Receive returns the packet, once. The bytes belong to the caller. A later call waits
// until the request has its response, which is an empty one after WaitLimit, and
// returns io.EOF. The error is otherwise ctx's or, if the client has left, the
// request's context's.
func (req *Request) Receive(ctx context.Context) ([]byte, error) {
	req.mu.Lock()
	packet := req.packet
	req.packet = nil
	req.mu.Unlock()
	if packet != nil {
		return packet, nil
	}
	var expired <-chan time.Time
	if req.waitLimit > 0 {
		timer := time.NewTimer(req.waitLimit - time.Since(req.arrived))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-req.answered:
		return nil, io.EOF
	case <-expired:
		_ = req.SendEmpty(ctx)
		return nil, io.EOF
	case <-ctx.Done():
		return nil, interrupted("receive", ctx)
	case <-req.r.Context().Done():
		return nil, interrupted("receive", req.r.Context())
	}
}

// Send sends packet as the response. The error is ErrLength, ctx's, or net.ErrClosed if
// there was a response already.
func (req *Request) Send(ctx context.Context, packet []byte) error {
	if err := checkLength(len(packet), req.maxLength); err != nil {
		return fmt.Errorf("httpconn: send: %w", err)
	}
	return req.respond(ctx, http.StatusOK, packet)
}

// SendEmpty sends an empty response, which means that http_wait has expired.
func (req *Request) SendEmpty(ctx context.Context) error {
	return req.respond(ctx, http.StatusOK, nil)
}

// SendError sends a transport error as the response: see Server.SendError.
func (req *Request) SendError(ctx context.Context, code uint32) error {
	status, body := errorResponse(code)
	return req.respond(ctx, status, body[:])
}

func (req *Request) respond(ctx context.Context, status int, body []byte) error {
	if ctx.Err() != nil {
		return interrupted("send", ctx)
	}
	req.mu.Lock()
	defer req.mu.Unlock()
	if req.err != nil {
		return req.err
	}
	req.err = net.ErrClosed
	defer close(req.answered)
	// The end of ctx is the end of a write to a client that does not read.
	stop := context.AfterFunc(ctx, func() {
		_ = http.NewResponseController(req.w).SetWriteDeadline(time.Unix(1, 0))
	})
	defer stop()
	if err := req.write(status, body); err != nil {
		if ctx.Err() != nil {
			return interrupted("send", ctx)
		}
		return fmt.Errorf("httpconn: response: %w", err)
	}
	return nil
}

// write writes the response, and flushes it: the client need not wait until the handler
// returns.
func (req *Request) write(status int, body []byte) error {
	header := req.w.Header()
	header.Set("Pragma", "no-cache")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if len(body) > 0 {
		header.Set("Content-Type", "application/octet-stream")
	}
	if req.access == CrossOrigin {
		for _, field := range crossOriginHeader {
			header.Set(field[0], field[1])
		}
	}
	req.w.WriteHeader(status)
	if _, err := req.w.Write(body); err != nil {
		return err
	}
	if err := http.NewResponseController(req.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// Close sends an empty response if there was none. Later calls return net.ErrClosed.
func (req *Request) Close() error {
	if err := req.SendEmpty(context.Background()); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
