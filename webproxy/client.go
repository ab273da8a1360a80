package webproxy

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// DialConfig configures Dial. A nil config is a config of zeros.
type DialConfig struct {
	// DialContext opens the TCP connections, to the link's host and port 443.
	// Default: a zero net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLSClientConfig is for all connections. ServerName and NextProtos are replaced.
	// Default: the system's roots.
	TLSClientConfig *tls.Config

	// DialTLSContext opens the connections with TLS, in place of DialContext and
	// TLSClientConfig, and speaks HTTP/1.1 on them: for a hello of its own. Default:
	// crypto/tls.
	DialTLSContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Header is added to each request. Default: none but a browser's Origin.
	Header http.Header

	// CloseTimeout limits the time that Close waits until what was written is sent
	// and the relay knows of the end. Default: 1 s.
	CloseTimeout time.Duration
}

// Client is a session with a relay, which has any number of streams. It has what an
// app and a relay's page have together, without a browser.
//
// It repeats requests that failed, so that lost connections lose no bytes: up to
// nine times with pauses that double, and for up to 90 seconds if the relay is
// busy. With the carriers websocket and websocket-lanes a lost socket ends the
// session, or its stream.
//
// All methods may be called concurrently.
type Client struct {
	*mux
	link         Link
	carrier      Carrier
	token        string
	header       http.Header
	http         *http.Client // of requests
	sockets      *http.Client // of WebSockets: HTTP/1.1
	closeTimeout time.Duration
	ctx          context.Context
	cancel       context.CancelFunc
	loops        sync.WaitGroup
}

// ErrNoToken means that the host's page is none of a relay's: the link is not a user's, or
// not any more, or the host has no relay. A site that answers with an error has a
// StatusError in place of it.
var ErrNoToken = errors.New("webproxy: the page has no token; the host may be another site's, or the secret another relay's")

// StatusError is an answer of a relay that ends a session, or that makes none: the
// site's to a link that is not a user's, that of a session that has ended, or that of a
// server in between.
type StatusError struct {
	Request string // what was asked for, such as "page" or "upload"
	Status  int    // of HTTP
}

// Error returns a text with the status.
func (e *StatusError) Error() string {
	return fmt.Sprintf("webproxy: %s: HTTP status %d", e.Request, e.Status)
}

// Dial begins a session with the relay of a link. ctx limits Dial alone. The caller
// closes the client.
//
// The error is ErrNoToken or a *StatusError if there is no relay for the link, wraps
// ErrProtocol if the relay breaks the protocol, and otherwise is the network's, ctx's or
// about the link, whose secret it does not quote.
func Dial(ctx context.Context, link Link, config *DialConfig) (*Client, error) {
	if err := link.Check(); err != nil {
		return nil, err
	}
	if config == nil {
		config = new(DialConfig)
	}
	c := &Client{link: link, header: config.Header.Clone(), closeTimeout: config.CloseTimeout}
	if c.header == nil {
		c.header = make(http.Header)
	}
	c.header.Set("Origin", "https://"+link.Host)
	if c.closeTimeout <= 0 {
		c.closeTimeout = time.Second
	}
	c.http = newHTTPClient(config, true)
	c.sockets = newHTTPClient(config, false)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.start(ctx); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// newHTTPClient returns a client that follows no redirects and keeps no cookies.
func newHTTPClient(config *DialConfig, http2 bool) *http.Client {
	dial := config.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	t := &http.Transport{
		DialContext:         markUnreachable(dial),
		TLSClientConfig:     config.TLSClientConfig.Clone(),
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   http2,
		IdleConnTimeout:     75 * time.Second,
		MaxIdleConnsPerHost: 8,
		// There may be a poll for each stream.
		MaxResponseHeaderBytes: 64 << 10,
		// A connection that is gone must not get the repeated requests as well.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pollTime + 5*time.Second, PingTimeout: 15 * time.Second},
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = new(tls.Config)
	}
	if config.DialTLSContext != nil {
		t.DialTLSContext, t.ForceAttemptHTTP2 = markUnreachable(config.DialTLSContext), false
	}
	t.TLSClientConfig.NextProtos = nil
	if !http2 {
		t.TLSClientConfig = netx.WithoutHTTP2(t.TLSClientConfig)
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// unreachableError is the error of a connection that was not established.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// markUnreachable returns dial with errors that are an unreachableError.
func markUnreachable(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, unreachableError{err}
		}
		return conn, nil
	}
}

// start gets the page and makes the session.
func (c *Client) start(ctx context.Context) error {
	page, err := c.do(ctx, request{name: "page", first: true, method: http.MethodGet, query: "bridge=" + c.link.Capability().String(), limit: 1 << 20})
	if err != nil {
		return err
	}
	bootstrap, ok := findBootstrap(page.body, c.link.Capability().String())
	if !ok {
		return ErrNoToken
	}
	c.token = bootstrap
	answer, err := c.do(ctx, request{name: "session", first: true, method: http.MethodPost, path: pathSession, body: [][]byte{AppendHello(nil)}, limit: HeaderLength})
	if err != nil {
		return err
	}
	if text := answer.header.Get(headerCarrier); text != "" {
		if err := c.carrier.UnmarshalText([]byte(text)); err != nil {
			return violation("%v", err)
		}
	}
	c.token = answer.header.Get(headerToken)
	if _, ok := parseToken(c.token); !ok {
		return violation("a session without a token")
	}
	c.mux = newMux(App, c.carrier)
	if err := c.receive(SharedLane, answer.body, true); err != nil {
		return err
	}
	return c.carry(ctx)
}

// tokenInQuotes matches what may be a token in a page's script.
var tokenInQuotes = regexp.MustCompile("[\"'`]([A-Za-z0-9_-]{43})[\"'`]")

// findBootstrap returns the token in a page: the first text of its form in quotes,
// but for the capability.
func findBootstrap(page []byte, capability string) (string, bool) {
	for _, m := range tokenInQuotes.FindAllSubmatch(page, -1) {
		text := string(m[1])
		if b, err := base64.RawURLEncoding.Strict().DecodeString(text); err == nil && len(b) == 32 && text != capability {
			return text, true
		}
	}
	return "", false
}

// carry starts what moves the session's lane, which is that of all streams or, in
// https-lanes, the session's own.
func (c *Client) carry(ctx context.Context) error {
	switch c.carrier {
	case HTTPS:
		c.poll(c.lanes[SharedLane])
	case HTTPSLanes:
		c.poll(c.lanes[SessionLane])
	case WebSocket:
		l := c.lanes[SharedLane]
		socket, err := c.dialSocket(ctx, l, subprotocol+c.token)
		if err != nil {
			return err
		}
		c.loop(func() {
			c.fail(fmt.Errorf("the WebSocket is lost: %w", socket.run(c.ctx)))
		})
	}
	return nil
}

// loop runs f in a goroutine that stop waits for. It reports false, and does nothing, if the
// session has ended: stop may be waiting already.
func (c *Client) loop(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.loops.Go(f)
	return true
}

// poll starts the uploads of a lane and, at once or after the first upload of a
// stream, its long polls.
func (c *Client) poll(l *lane) {
	opened := make(chan struct{})
	if l.id <= 0 {
		close(opened)
	}
	c.loop(func() { c.fail(c.uploads(l, opened)) })
	c.loop(func() {
		select {
		case <-opened:
			c.fail(c.downloads(l))
		case <-c.ctx.Done():
		}
	})
}

// fail ends the session, unless err is nil.
func (c *Client) fail(err error) {
	if err == nil {
		return
	}
	if !errors.Is(err, ErrSessionEnded) {
		err = fmt.Errorf("%w: %w", ErrSessionEnded, err)
	}
	c.end(err)
	c.cancel()
}

// Carrier returns the carrier that the relay has chosen.
func (c *Client) Carrier() Carrier { return c.carrier }

// Err returns the error that ended the session, or nil.
func (c *Client) Err() error { return c.failure() }

// Open opens a stream. The relay does not confirm it: a stream that it refuses is
// closed, and Read returns io.EOF. ctx limits the connection that
// websocket-lanes makes.
func (c *Client) Open(ctx context.Context) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, l, err := c.open()
	if err != nil {
		return nil, err
	}
	switch c.carrier {
	case HTTPSLanes:
		c.poll(l)
	case WebSocketLanes:
		id := conn.stream.id
		socket, err := c.dialSocket(ctx, l, fmt.Sprintf("%s%s.%d", laneSubprotocol, c.token, id))
		if err == nil && !c.loop(func() { c.lose(id, errStreamLost(socket.run(c.ctx))) }) {
			socket.CloseNow()
			err = c.failure()
		}
		if err != nil {
			c.lose(id, err)
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// open makes a stream, its connection, and its lane.
func (c *Client) open() (*Conn, *lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, nil, c.err
	}
	b, stream, err := c.state.AppendOpen(nil, 0)
	if err != nil {
		return nil, nil, err
	}
	if c.perStream {
		c.addLane(int(stream.id))
	}
	conn := newConn(c.mux, stream)
	conn.local, conn.remote = hostAddr("client"), hostAddr(c.link.Host)
	c.track(conn)
	f, _, _ := ParseFrame(b)
	l := c.laneOf(stream.id)
	c.send(l, f)
	return conn, l, nil
}

// Close ends the session. It waits for up to CloseTimeout until what was written is
// sent. Streams that are open are ended.
func (c *Client) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.closeTimeout)
	defer cancel()
	c.drain(ctx)
	if !c.end(net.ErrClosed) {
		c.stop()
		return nil
	}
	_, err := c.do(ctx, request{name: "end", method: http.MethodDelete, path: pathSession, once: true})
	c.stop()
	var status *StatusError
	if ctx.Err() != nil || errors.As(err, &status) {
		return nil // the relay ends the session itself, or has done so
	}
	return err
}

// drain waits until nothing waits to be sent.
func (c *Client) drain(ctx context.Context) {
	c.mu.Lock()
	if c.outgoing == 0 || c.err != nil || c.drained != nil {
		c.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	c.drained = drained
	c.mu.Unlock()
	select {
	case <-drained:
	case <-c.ended:
	case <-ctx.Done():
	}
}

// stop ends the goroutines and the connections.
func (c *Client) stop() {
	c.cancel()
	c.loops.Wait()
	c.http.CloseIdleConnections()
	c.sockets.CloseIdleConnections()
}
