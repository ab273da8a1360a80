//go:build !js

package wsconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/mtwire/mtwire/internal/netx"
)

// maxRequestHead limits the head of an upgrade request, in bytes. Browsers with
// cookies send 1 to 2 KiB.
const maxRequestHead = 8 << 10

// Server reads an upgrade request, which begins with "GET ", from conn, sends the
// response and returns the WebSocket. The context applies to Server only, not to
// the connection. It should have a deadline: Server has no timeout of its own.
// Server clears conn's deadlines.
//
// If Server refuses the request, the response is 404 (path), 426 (not an upgrade),
// 403 (origin), 431 (head over 8 KiB), 505 (not HTTP/1) or 400, and the error is
// *HandshakeError. After any error conn is closed.
//
// Server refuses what an http.Server refuses, except for a request without Host,
// and beyond that what two parsers may read differently: lines without a carriage
// return, folded lines, Content-Length together with Transfer-Encoding, a body.
func Server(ctx context.Context, conn net.Conn, config *ServerConfig) (*Conn, error) {
	conn = netx.WithDeadlines(conn)
	interruption := netx.Interrupt(ctx, conn.SetDeadline)
	c, err := serve(conn, config)
	if ended := interruption.Finish(); ended != nil {
		err = fmt.Errorf("wsconn: upgrade: %w", ended)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

func serve(conn net.Conn, config *ServerConfig) (*Conn, error) {
	head := &headReader{conn: conn, left: maxRequestHead, request: new(netx.RequestHead)}
	br := bufio.NewReader(head)
	w := &responseWriter{conn: conn, br: br, header: make(http.Header)}
	r, err := http.ReadRequest(br)
	switch {
	case err == nil && r.ProtoMajor != 1:
		return nil, refuseRequest(w, r, http.StatusHTTPVersionNotSupported, errors.New("not HTTP/1"))
	case err == nil:
		return Accept(w, r, config)
	case head.err == errHeadTooLong:
		return nil, refuseRequest(w, &http.Request{}, http.StatusRequestHeaderFieldsTooLarge, head.err)
	case errors.Is(head.err, netx.ErrRequestHead):
		return nil, refuseRequest(w, &http.Request{}, http.StatusBadRequest, head.err)
	case head.err == io.EOF:
		return nil, fmt.Errorf("wsconn: upgrade: %w", io.ErrUnexpectedEOF)
	case head.err != nil:
		return nil, fmt.Errorf("wsconn: upgrade: %w", head.err)
	default:
		return nil, refuseRequest(w, &http.Request{}, http.StatusBadRequest, err)
	}
}

// Accept upgrades a request of an http.Server. It refuses the same requests as
// Server. It always sends the response on w, and its error is *HandshakeError. The
// connection belongs to the caller afterwards, and the http.Server no longer
// closes it.
func Accept(w http.ResponseWriter, r *http.Request, config *ServerConfig) (*Conn, error) {
	if config == nil {
		config = &ServerConfig{}
	}
	if status, err := config.check(r); err != nil {
		return nil, refuseRequest(w, r, status, err)
	}
	t := &takeover{ResponseWriter: w}
	ws, err := websocket.Accept(t, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // check has called CheckOrigin
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     func(_ context.Context, payload []byte) bool { return t.stream.answerPing(payload) },
	})
	if shim, ok := w.(*responseWriter); ok && err != nil {
		_ = shim.finish()
	}
	if err != nil {
		if t.stream != nil {
			_ = t.stream.Close()
		}
		return nil, &HandshakeError{Method: r.Method, Path: r.URL.Path, Status: t.status, Err: err}
	}
	return newConn(ws, t.stream, config.CloseTimeout, config.PingInterval), nil
}

// check returns an error for requests to refuse, as far as the library does not
// check them itself.
func (config *ServerConfig) check(r *http.Request) (status int, err error) {
	checkPath := config.CheckPath
	if checkPath == nil {
		checkPath = OfficialPath
	}
	origin := r.Header.Get("Origin")
	switch {
	case !checkPath(r.URL.Path):
		return http.StatusNotFound, errors.New("no such path")
	case !hasToken(r.Header, "Upgrade", "websocket"):
		return http.StatusUpgradeRequired, errors.New("not an upgrade to WebSocket")
	case r.ContentLength != 0: // its body would be taken for frames
		return http.StatusBadRequest, errors.New("an upgrade with a body")
	case !hasToken(r.Header, "Sec-Websocket-Protocol", subprotocol):
		return http.StatusBadRequest, fmt.Errorf("%w: the client did not offer it", ErrSubprotocol)
	case config.CheckOrigin != nil && !config.CheckOrigin(origin):
		return http.StatusForbidden, fmt.Errorf("origin %q not allowed", origin)
	}
	return 0, nil
}

func hasToken(h http.Header, key, want string) bool {
	for _, line := range h[key] {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), want) {
				return true
			}
		}
	}
	return false
}

func refuseRequest(w http.ResponseWriter, r *http.Request, status int, err error) error {
	e := &HandshakeError{Method: r.Method, Status: status, Err: err}
	if r.URL != nil {
		e.Path = r.URL.Path
	}
	if status == http.StatusUpgradeRequired {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
	}
	http.Error(w, http.StatusText(status), status)
	if shim, ok := w.(*responseWriter); ok {
		_ = shim.finish()
	}
	return e
}
