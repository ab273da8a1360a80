package httpconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	defaultMaxInFlight     = 8
	defaultResponseTimeout = 2 * time.Minute
	defaultDialTimeout     = 15 * time.Second
)

// ClientConfig configures a Client. A nil config is a config of zeros. DialContext is
// called concurrently.
type ClientConfig struct {
	// MaxInFlight limits the packets in flight: requests without a response, and
	// responses that Receive has not returned yet. Each request in flight has its
	// own connection. Default: 8.
	MaxInFlight int

	// MaxLength limits the length of a packet in bytes, in both directions.
	// Default: 16 MiB.
	MaxLength int

	// Reserve is called before the memory for responses grows by change bytes: for
	// those that arrive, and those that Receive has not returned. With an error the
	// POST fails, and the error is the PostError's Err. With a negative change that
	// memory is given back, by Close as well, and the error is ignored. It is called
	// concurrently. Default: MaxLength is the only limit of each response.
	Reserve func(change int) error

	// ResponseTimeout limits the duration of one POST, so that a dead connection
	// does not stay in flight. It must be longer than the max_wait of http_wait,
	// 25 s by default. Default: 2 min; negative: none.
	ResponseTimeout time.Duration

	// Header is added to every POST. Content-Type defaults to
	// application/x-www-form-urlencoded: servers ignore it, most clients send it,
	// and browsers allow it without a preflight. There is no User-Agent by
	// default. Host replaces the URL's host in the request, not in the address that
	// is dialled, nor in TLS.
	Header http.Header

	// TLSClientConfig is for https. HTTP/2 in NextProtos is not offered. Default:
	// the system's roots.
	TLSClientConfig *tls.Config

	// DialContext opens TCP connections. Default: a zero net.Dialer. A panic in it, or
	// in a function of TLSClientConfig, fails the POST that needs the connection.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// DialTimeout limits the time for a connection, TLS included. The POSTs that wait
	// for it fail then. Default: 15 s; negative: none.
	DialTimeout time.Duration
}

// Client sends packets to an MTProto server over HTTP or HTTPS. All methods may be
// called concurrently.
//
// Each packet is a separate POST, with its own connection until the response
// arrives, so a long poll does not block other packets. A POST that meets a
// connection which the server has just closed is repeated on another one; the server
// may then receive a packet twice. An error affects a single POST: Receive returns it
// once, with the packet, and the Client remains usable.
type Client struct {
	config    ClientConfig
	url       string
	host      string // in requests
	transport *http.Transport
	header    http.Header

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	slots   chan struct{} // a semaphore of MaxInFlight
	results chan result   // has the capacity of slots, so that post never blocks

	mu      sync.Mutex // held to start a POST, and to set closed and ended
	closed  bool
	ended   bool // by CloseWrite
	posts   sync.WaitGroup
	drained chan struct{} // closed when the POSTs of before CloseWrite have ended
}

type result struct {
	packet []byte
	err    error
	memory responseMemory
}

// NewClient returns a Client for a URL like http://149.154.167.51/api or
// https://venus.web.telegram.org/api. The path defaults to /api. The Client
// connects with the first Send. It does not follow redirects and ignores the
// environment's proxies. The error is about the URL.
//
// Specification: https://core.telegram.org/mtproto/transports#uri-format
func NewClient(rawURL string, config *ClientConfig) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("httpconn: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("httpconn: URL %q is not like http://host/api", rawURL)
	}
	if u.Path == "" {
		u.Path = "/api"
	}
	c := &Client{url: u.String()}
	if config != nil {
		c.config = *config
	}
	if c.config.MaxInFlight <= 0 {
		c.config.MaxInFlight = defaultMaxInFlight
	}
	if c.config.MaxLength <= 0 {
		c.config.MaxLength = defaultMaxLength
	}
	if c.config.ResponseTimeout == 0 {
		c.config.ResponseTimeout = defaultResponseTimeout
	}
	c.header = c.config.Header.Clone()
	if c.header == nil {
		c.header = make(http.Header)
	}
	c.host = netx.TakeHost(c.header, u)
	if c.header.Get("Content-Type") == "" {
		c.header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.header.Get("User-Agent") == "" {
		c.header.Set("User-Agent", "") // otherwise net/http adds its own
	}
	c.transport = newTransport(&c.config)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.slots = make(chan struct{}, c.config.MaxInFlight)
	c.results = make(chan result, c.config.MaxInFlight)
	c.drained = make(chan struct{})
	return c, nil
}

func newTransport(config *ClientConfig) *http.Transport {
	d := newDialer(config)
	t := &http.Transport{
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		DisableCompression:     true, // bodies are ciphertext
		MaxIdleConnsPerHost:    config.MaxInFlight,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 16 << 10,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// Send starts a POST of a copy of packet. Receive returns its response or error.
// While MaxInFlight packets are in flight, Send blocks until Receive returns one or
// ctx ends. The context applies to this wait only.
//
// The error is ErrLength, the context's error or net.ErrClosed.
func (c *Client) Send(ctx context.Context, packet []byte) error {
	if err := checkLength(len(packet), c.config.MaxLength); err != nil {
		return fmt.Errorf("httpconn: send: %w", err)
	}
	if err := c.begin(ctx); err != nil {
		return fmt.Errorf("httpconn: send: %w", err)
	}
	body := bytes.Clone(packet)
	go func() {
		defer c.posts.Done()
		c.post(body)
	}()
	return nil
}

// begin takes a slot and adds one to posts, which the caller gives back.
func (c *Client) begin(ctx context.Context) error {
	if c.hasEnded() {
		return net.ErrClosed // also while no slot is free
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return net.ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.ended {
		<-c.slots
		return net.ErrClosed
	}
	c.posts.Add(1)
	return nil
}

// hasEnded reports whether nothing more may be sent.
func (c *Client) hasEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed || c.ended
}

// Exchange posts packet and returns the packet of its own response, which Receive then
// does not return, or nil for an empty response: a long poll that has to know when it has
// ended. While MaxInFlight packets are in flight, it waits for one of them. The packet is
// not kept after the return, and the response belongs to the caller.
//
// The error is ErrLength, ctx's, net.ErrClosed, a *frame.TransportError or a *PostError.
// When ctx ends, the POST ends too.
func (c *Client) Exchange(ctx context.Context, packet []byte) ([]byte, error) {
	if err := checkLength(len(packet), c.config.MaxLength); err != nil {
		return nil, fmt.Errorf("httpconn: exchange: %w", err)
	}
	if err := c.begin(ctx); err != nil {
		return nil, fmt.Errorf("httpconn: exchange: %w", err)
	}
	defer c.posts.Done()
	defer func() { <-c.slots }()
	both, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	memory := responseMemory{reserve: c.config.Reserve}
	defer memory.free()
	answer, err := c.exchange(both, bytes.Clone(packet), &memory)
	switch {
	case c.ctx.Err() != nil:
		return nil, net.ErrClosed
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("httpconn: exchange: %w", ctx.Err())
	}
	return answer, err
}

// Receive returns the packet of the next response, in the order of arrival. The
// bytes belong to the caller. It skips empty responses.
//
// A *frame.TransportError is the server's response to one packet, and a *PostError
// is the failure of one POST; the Client remains usable. Other errors are the
// context's, net.ErrClosed after Close, and io.EOF when all POSTs of before CloseWrite
// have ended.
func (c *Client) Receive(ctx context.Context) ([]byte, error) {
	select {
	case <-c.ctx.Done():
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("httpconn: receive: %w", ctx.Err())
	case r := <-c.results:
		return c.take(r)
	case <-c.drained:
	}
	select {
	case r := <-c.results:
		return c.take(r)
	default:
	}
	if c.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	return nil, io.EOF
}

// take returns a result, and gives its slot and its memory back.
func (c *Client) take(r result) ([]byte, error) {
	<-c.slots
	r.memory.free()
	if c.ctx.Err() != nil {
		return nil, net.ErrClosed // r may be an effect of Close
	}
	return r.packet, r.err
}

// CloseWrite ends sending: later calls of Send and Exchange return net.ErrClosed, also for the
// packet of a PostError, which needs another Client. Receive returns the results of the POSTs
// that have begun, and then io.EOF. Close is still to be called. A second call returns
// net.ErrClosed, as does one after Close.
func (c *Client) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.ended {
		return net.ErrClosed
	}
	c.ended = true
	go func() {
		c.posts.Wait()
		close(c.drained)
	}()
	return nil
}

// Close cancels the requests in flight and waits until they have ended. It drops
// packets that Receive has not returned.
func (c *Client) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	c.cancel()
	c.posts.Wait()
	c.transport.CloseIdleConnections()
	for len(c.results) > 0 { // the owner of the Client may keep it for longer
		select {
		case r := <-c.results:
			_, _ = c.take(r)
		default: // a Receive has taken it
		}
	}
	return nil
}

func (c *Client) post(body []byte) {
	memory := responseMemory{reserve: c.config.Reserve}
	packet, err := c.exchange(c.ctx, body, &memory)
	if packet == nil {
		memory.free()
	}
	if packet == nil && err == nil {
		<-c.slots
		return
	}
	c.results <- result{packet, err, memory}
}

// exchange posts body and returns the packet of the response, or nil for an empty one.
func (c *Client) exchange(ctx context.Context, body []byte, memory *responseMemory) ([]byte, error) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	if limit := c.config.ResponseTimeout; limit > 0 {
		var stop context.CancelFunc
		limited, stop = context.WithTimeout(limited, limit)
		defer stop()
	}
	resp, err := c.roundTrip(limited, body)
	if err != nil {
		return nil, &PostError{Packet: body, Err: netx.Brief(err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 { // the rest is for the next request's sake
		defer time.AfterFunc(errorBodyTime, cancel).Stop()
	}
	packet, err := readResponse(resp, c.config.MaxLength, memory)
	if failed := (*PostError)(nil); errors.As(err, &failed) {
		failed.Packet = body
	}
	return packet, err
}

// roundTrip posts body. A connection that was idle may end at the moment of the
// request, because the server or a network closes it. The request is then repeated on
// another one, as net/http repeats idempotent requests: a message that an MTProto
// server receives twice is served once, by its identifier. Every repetition has used
// up an idle connection, and a request that fails on a new one is not repeated.
func (c *Client) roundTrip(ctx context.Context, body []byte) (*http.Response, error) {
	for {
		var reused, answered atomic.Bool
		traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn:              func(info httptrace.GotConnInfo) { reused.Store(info.Reused) },
			GotFirstResponseByte: func() { answered.Store(true) },
		})
		req, err := http.NewRequestWithContext(traced, http.MethodPost, c.url, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Host, req.Header = c.host, c.header.Clone()
		resp, err := c.transport.RoundTrip(req) // an http.Client would follow redirects
		if err == nil || !reused.Load() || answered.Load() || ctx.Err() != nil {
			return resp, err
		}
	}
}
