//go:build !js

package wsconn

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"

	"github.com/mtwire/mtwire/internal/netx"
)

// maxResponseHead limits the head of the server's response, with those of the interim ones
// before it, in bytes.
const maxResponseHead = 16 << 10

// Dial connects to a URL like wss://venus.web.telegram.org/apiws or
// ws://149.154.167.51/apiws and upgrades to WebSocket with the sub-protocol
// "binary". The context applies to Dial, not to the connection.
//
// If the server refuses the upgrade, the error is *HandshakeError; Dial does not
// follow redirects. If the server does not echo the sub-protocol, the error is
// ErrSubprotocol.
//
// Specification: https://core.telegram.org/mtproto/transports#uri-format
func Dial(ctx context.Context, rawURL string, config *DialConfig) (*Conn, error) {
	if config == nil {
		config = &DialConfig{}
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("wsconn: %w", err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return nil, fmt.Errorf("wsconn: URL %q is not like wss://host/apiws", rawURL)
	}
	up := upgrade{config: config}
	header := config.Header.Clone()
	ws, resp, err := websocket.Dial(ctx, rawURL, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     &up,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Host:            netx.TakeHost(header, u),
		HTTPHeader:      header,
		Subprotocols:    []string{subprotocol},
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  func(_ context.Context, payload []byte) bool { return up.stream.answerPing(payload) },
	})
	if err != nil {
		up.close()
		return nil, dialError(ctx, u, resp, err)
	}
	up.stream.dialing = false
	if !strings.EqualFold(ws.Subprotocol(), subprotocol) {
		_ = ws.CloseNow()
		return nil, fmt.Errorf("wsconn: dial %s: %w: the server did not echo it", rawURL, ErrSubprotocol)
	}
	return newConn(ws, up.stream, config.CloseTimeout, config.PingInterval), nil
}

func dialError(ctx context.Context, u *url.URL, resp *http.Response, err error) error {
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("wsconn: dial %s: %w", u, ended)
	}
	if resp == nil {
		return fmt.Errorf("wsconn: dial %s: %w", u, netx.Brief(err))
	}
	if location := resp.Header.Get("Location"); location != "" {
		err = netx.Brief(fmt.Errorf("redirect to %q", location))
	} else if resp.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New("not a WebSocket")
	}
	return &HandshakeError{Method: http.MethodGet, Path: u.Path, Status: resp.StatusCode, Err: err}
}

// upgrade is the http.RoundTripper of one Dial. Unlike an http.Transport it keeps
// the connection, for its deadlines and addresses, and starts no goroutine.
type upgrade struct {
	config *DialConfig
	conn   net.Conn
	stream *stream
}

func (u *upgrade) close() {
	if u.conn != nil {
		_ = u.conn.Close()
	}
}

// RoundTrip connects, sends the request and reads the head of the response. If the
// connection was upgraded, the body is the stream; otherwise there is none.
func (u *upgrade) RoundTrip(req *http.Request) (*http.Response, error) {
	var err error
	if u.conn, err = u.dial(req); err != nil {
		return nil, err
	}
	interruption := netx.Interrupt(req.Context(), u.conn.SetDeadline)
	resp, err := u.exchange(req)
	if ended := interruption.Finish(); ended != nil {
		err = ended
	}
	if err != nil {
		u.close()
		return nil, err
	}
	return resp, nil
}

func (u *upgrade) exchange(req *http.Request) (*http.Response, error) {
	if t, ok := u.conn.(*tls.Conn); ok {
		if err := t.HandshakeContext(req.Context()); err != nil {
			return nil, err
		}
	}
	if err := asBrowsersSend(req).Write(u.conn); err != nil {
		return nil, err
	}
	head := &headReader{conn: u.conn, left: maxResponseHead}
	br := bufio.NewReader(head)
	resp, err := netx.ReadFinalResponse(br, req)
	if err != nil {
		return nil, fmt.Errorf("response to the upgrade: %w", cmp.Or(head.err, err))
	}
	resp.Body = http.NoBody
	if resp.StatusCode == http.StatusSwitchingProtocols {
		leftover, _ := br.Peek(br.Buffered())
		u.stream = &stream{Conn: u.conn, masked: true, dialing: true, leftover: leftover}
		resp.Body = u.stream
	}
	return resp, nil
}

// asBrowsersSend returns req with the header fields of the handshake spelled as the
// specification and browsers do, and without Go's User-Agent.
func asBrowsersSend(req *http.Request) *http.Request {
	req = req.Clone(req.Context())
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = nil
	}
	for name, values := range req.Header {
		if rest, ok := strings.CutPrefix(name, "Sec-Websocket-"); ok {
			delete(req.Header, name)
			req.Header["Sec-WebSocket-"+rest] = values
		}
	}
	return req
}

func (u *upgrade) dial(req *http.Request) (net.Conn, error) {
	dial := u.config.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	port := req.URL.Port()
	if port == "" {
		// The library has replaced ws by http and wss by https.
		port = map[string]string{"http": "80", "https": "443"}[req.URL.Scheme]
	}
	conn, err := dial(req.Context(), "tcp", net.JoinHostPort(req.URL.Hostname(), port))
	if err != nil {
		return nil, err
	}
	conn = netx.WithDeadlines(conn)
	if req.URL.Scheme != "https" {
		return conn, nil
	}
	tlsConfig := &tls.Config{}
	if u.config.TLSClientConfig != nil {
		// The upgrade is HTTP/1.1.
		tlsConfig = netx.WithoutHTTP2(u.config.TLSClientConfig).Clone()
	}
	if tlsConfig.ServerName == "" {
		tlsConfig.ServerName = req.URL.Hostname()
	}
	return tls.Client(conn, tlsConfig), nil
}
