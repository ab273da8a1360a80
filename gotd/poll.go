package gotd

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/httpconn"
)

// maxWait is how long a server may keep a request of http_wait open, in milliseconds:
// the default of the specification.
//
// Specification: https://core.telegram.org/mtproto/service_messages#long-polling
const maxWait = 25_000

// pollPause is the time until the next request after one that failed, or that was
// answered at once by nothing, as by a server that does not wait.
const pollPause = 500 * time.Millisecond

// polling is a connection over HTTP, on which a server can answer only. Beside it there
// is a client for http_wait, one request at a time, which gotd encrypts: gotd finds
// HTTPWaitParams and StartHTTPWait by their names.
type polling struct {
	transport.Conn
	polls *httpconn.Client

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	received chan received // of both connections
	started  sync.Once
	tasks    sync.WaitGroup
}

type received struct {
	packet []byte
	err    error
}

func newPolling(conn transport.Conn, polls *httpconn.Client) *polling {
	p := &polling{Conn: conn, polls: polls, received: make(chan received)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.tasks.Go(p.receive)
	return p
}

// receive passes on the answers to what Send has sent, until Close.
func (p *polling) receive() {
	for p.ctx.Err() == nil {
		var b bin.Buffer
		err := p.Conn.Recv(p.ctx, &b)
		p.deliver(b.Buf, err)
	}
}

func (p *polling) deliver(packet []byte, err error) {
	select {
	case p.received <- received{packet, protocolError(err)}:
	case <-p.ctx.Done():
	}
}

// Recv replaces the contents of b with the next packet of either connection.
func (p *polling) Recv(ctx context.Context, b *bin.Buffer) error {
	select {
	case r := <-p.received:
		b.Buf = append(b.Buf[:0], r.packet...)
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ctx.Done():
		return net.ErrClosed
	}
}

// HTTPWaitParams returns the fields of http_wait, in milliseconds.
func (p *polling) HTTPWaitParams() (maxDelay, waitAfter, wait int) { return 0, 0, maxWait }

// StartHTTPWait keeps one request open, until Close. frame makes its packet. Calls
// after the first one do nothing.
func (p *polling) StartHTTPWait(frame func(context.Context) (*bin.Buffer, error)) {
	p.started.Do(func() { p.tasks.Go(func() { p.poll(frame) }) })
}

func (p *polling) poll(frame func(context.Context) (*bin.Buffer, error)) {
	for p.ctx.Err() == nil {
		begun := time.Now()
		var packet []byte
		b, err := frame(p.ctx)
		if err == nil {
			packet, err = p.polls.Exchange(p.ctx, b.Buf)
		}
		if code := (*mtwire.TransportError)(nil); packet != nil || errors.As(err, &code) {
			p.deliver(packet, err)
			continue
		}
		// There is no key yet, or the POST failed, of which gotd's pings take notice; or
		// something on the way does not wait for maxWait.
		if err != nil || time.Since(begun) < time.Second {
			p.sleep(pollPause)
		}
	}
}

func (p *polling) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.ctx.Done():
	}
}

// Close ends both connections, and waits for what they do.
func (p *polling) Close() error {
	p.cancel()
	err := errors.Join(p.Conn.Close(), p.polls.Close())
	p.tasks.Wait()
	return err
}

// pollClient returns a client for http_wait to the endpoint, with an own connection.
func pollClient(ep mtwire.Endpoint, config *mtwire.DialConfig) (*httpconn.Client, error) {
	scheme, path := "http", ep.Path
	if ep.TLS {
		scheme = "https"
	}
	if path == "" {
		path = "/api"
	}
	return httpconn.NewClient(scheme+"://"+ep.Address+path, &httpconn.ClientConfig{
		MaxLength:       config.MaxLength,
		Header:          config.Header,
		TLSClientConfig: config.TLS,
		DialContext:     config.DialContext,
		DialTimeout:     config.DialTimeout,
	})
}
