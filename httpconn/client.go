package httpconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	defaultMaxInFlight   = 8
	defaultAnswerTimeout = 2 * time.Minute
)

// ClientConfig configures a Client. A nil config is a config of zeros.
type ClientConfig struct {
	// MaxInFlight is how many packets may be under way: requests without an
	// answer, and answers that Receive has not returned yet. Each request in
	// flight has a connection of its own. Default: 8.
	MaxInFlight int

	// MaxLength bounds a packet in bytes, in both directions. Default: 16 MiB.
	MaxLength int

	// AnswerTimeout bounds one POST, so that a connection that died does not
	// count as in flight for ever. It must be longer than the max_wait of
	// http_wait, 25 s by default. Default: 2 min; negative: none.
	AnswerTimeout time.Duration

	// Header is sent with every POST. Content-Type defaults to
	// application/x-www-form-urlencoded: servers ignore it, most clients send
	// that, and it spares browsers' rules a preflight. There is no User-Agent
	// by default.
	Header http.Header

	// TLSClientConfig is for https. HTTP/2 is not offered, be it in NextProtos.
	// Default: the system's roots.
	TLSClientConfig *tls.Config

	// DialContext opens TCP connections. Default: a zero net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client sends packets to an MTProto server over HTTP or HTTPS. All methods
// may be called at the same time.
//
// Each packet is a POST of its own, on a connection of its own while its
// answer is awaited, so a long poll holds up nothing. A failure is the failure
// of one POST: Receive returns it once, and the client goes on.
type Client struct {
	config    ClientConfig
	url       string
	transport *http.Transport
	header    http.Header

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	slots   chan struct{} // one taken for each packet under way
	results chan result   // as much room as slots: a POST never waits to hand over

	mu     sync.Mutex // guards starting a POST against Close
	closed bool
	posts  sync.WaitGroup
}

type result struct {
	packet []byte
	err    error
}

// NewClient makes a client of a URL like http://149.154.167.51/api or
// https://venus.web.telegram.org/api; the path defaults to /api. It connects
// with the first Send. Redirects are not followed and the environment's
// proxies are not used.
//
// Specification: https://core.telegram.org/mtproto/transports#uri-format
func NewClient(rawURL string, config *ClientConfig) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("httpconn: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("httpconn: want a URL like http://host/api, have %q", rawURL)
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
	if c.config.AnswerTimeout == 0 {
		c.config.AnswerTimeout = defaultAnswerTimeout
	}
	c.header = c.config.Header.Clone()
	if c.header == nil {
		c.header = make(http.Header)
	}
	if c.header.Get("Content-Type") == "" {
		c.header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.header.Get("User-Agent") == "" {
		c.header.Set("User-Agent", "") // keeps net/http from naming itself
	}
	c.transport = newTransport(&c.config)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.slots = make(chan struct{}, c.config.MaxInFlight)
	c.results = make(chan result, c.config.MaxInFlight)
	return c, nil
}

func newTransport(config *ClientConfig) *http.Transport {
	t := &http.Transport{
		DialContext:            config.DialContext,
		TLSClientConfig:        netx.WithoutHTTP2(config.TLSClientConfig).Clone(), // else the server may choose it
		DisableCompression:     true,                                              // bodies are ciphertext
		MaxIdleConnsPerHost:    config.MaxInFlight,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 16 << 10,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// Send starts a POST of packet and returns; the answer, or what went wrong, is
// for Receive to return. The bytes are copied. While MaxInFlight packets are
// under way Send waits, as long as ctx allows; a program that never calls
// Receive waits for ever. The context bounds that wait only.
//
// The error is ErrLength for what cannot be a packet, the context's, or
// net.ErrClosed.
func (c *Client) Send(ctx context.Context, packet []byte) error {
	if err := checkLength(len(packet), c.config.MaxLength); err != nil {
		return fmt.Errorf("httpconn: send: %w", err)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("httpconn: send: %w", ctx.Err())
	case <-c.ctx.Done():
		return net.ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	body := bytes.Clone(packet)
	c.posts.Go(func() { c.post(body) })
	return nil
}

// Receive returns the next answer, in the order in which they arrive; the
// bytes are the caller's. Empty answers are passed over.
//
// A *frame.TransportError is the server's answer to one packet, a *PostError
// the failure of one; the client goes on after both. Others are the context's
// error, and net.ErrClosed after Close.
func (c *Client) Receive(ctx context.Context) ([]byte, error) {
	select {
	case <-c.ctx.Done():
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("httpconn: receive: %w", ctx.Err())
	case r := <-c.results:
		<-c.slots
		if c.ctx.Err() != nil {
			return nil, net.ErrClosed // of which r may be the consequence
		}
		return r.packet, r.err
	}
}

// Close gives up what is in flight and waits until it has ended. Packets that
// Receive has not returned are dropped.
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
	return nil
}

func (c *Client) post(body []byte) {
	packet, err := c.exchange(body)
	if packet == nil && err == nil {
		<-c.slots
		return
	}
	c.results <- result{packet, err}
}

func (c *Client) exchange(body []byte) ([]byte, error) {
	ctx := c.ctx
	if c.config.AnswerTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.config.AnswerTimeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, &PostError{Err: err}
	}
	req.Header = c.header.Clone()
	resp, err := c.transport.RoundTrip(req) // an http.Client would follow redirects
	if err != nil {
		return nil, &PostError{Err: err}
	}
	defer resp.Body.Close()
	return readAnswer(resp, c.config.MaxLength)
}
