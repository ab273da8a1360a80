package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall/js"
	"time"

	"github.com/mtwire/mtwire/frame"
)

// In a browser the WebSocket is the browser's own.
//
// Specification: https://websockets.spec.whatwg.org/

// Conn is a WebSocket as one stream of bytes.
//
// Read, Write, Close and the deadline methods may be called concurrently. Reads
// are serialized, and so are Writes. The browser answers pings. It also reads ahead
// without a limit, so that a caller that does not Read holds what the peer sends.
//
// WebSocket has no half-close: there is no CloseWrite, and once either side has
// closed, no data moves in either direction.
//
// A deadline unblocks Read or Write with an error that is os.ErrDeadlineExceeded
// and a net.Error with Timeout. Nothing is lost or sent then, and the call can be
// repeated. All other errors are permanent.
type Conn struct {
	socket       js.Value
	address      address
	closeTimeout time.Duration
	handlers     map[string]js.Func

	rmu, wmu sync.Mutex // held by Read and Write

	mu       sync.Mutex
	messages [][]byte // received and not read
	opened   bool
	closing  bool  // Close was called
	text     bool  // a text message came
	err      error // why nothing more comes, once messages are read
	changed  chan struct{}

	readDeadline, writeDeadline time.Time
}

var _ net.Conn = (*Conn)(nil)

const (
	// maxBuffered is how many bytes the browser may hold that it has not sent. The
	// browser has no event for when there are fewer, so Write polls.
	maxBuffered  = 1 << 20
	pollInterval = 10 * time.Millisecond
)

// Dial connects to a URL like wss://venus.web.telegram.org/apiws or
// ws://149.154.167.51/apiws and upgrades to WebSocket with the sub-protocol
// "binary". The context applies to Dial, not to the connection.
//
// A browser does not tell why it could not connect, or that it followed a redirect.
// If the server does not echo the sub-protocol, the browser does not connect.
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
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("wsconn: dial %s: %w", u, err)
	}
	socket, err := newSocket(rawURL)
	if err != nil {
		return nil, fmt.Errorf("wsconn: dial %s: %w", u, err)
	}
	c := &Conn{socket: socket, address: address(u.Host), closeTimeout: config.CloseTimeout, changed: make(chan struct{})}
	if c.closeTimeout <= 0 {
		c.closeTimeout = defaultCloseTimeout
	}
	socket.Set("binaryType", "arraybuffer")
	c.handle("open", func(js.Value) { c.opened = true })
	c.handle("message", c.message)
	c.handle("close", c.closed)
	if err := c.wait(ctx, time.Time{}, func() bool { return c.opened || c.err != nil }); err != nil {
		c.abandon()
		return nil, fmt.Errorf("wsconn: dial %s: %w", u, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.opened {
		return nil, fmt.Errorf("wsconn: dial %s: the browser could not connect", u)
	}
	if !strings.EqualFold(socket.Get("protocol").String(), subprotocol) {
		c.abandon()
		return nil, fmt.Errorf("wsconn: dial %s: %w: the server did not echo it", rawURL, ErrSubprotocol)
	}
	return c, nil
}

// newSocket calls the browser's constructor.
func newSocket(rawURL string) (socket js.Value, err error) {
	defer recoverJS(&err)
	constructor := js.Global().Get("WebSocket")
	if constructor.IsUndefined() {
		return socket, fmt.Errorf("no WebSocket in this environment: %w", errors.ErrUnsupported)
	}
	return constructor.New(rawURL, js.ValueOf([]any{subprotocol})), nil
}

// recoverJS stores an exception of JavaScript in err.
func recoverJS(err *error) {
	switch e := recover().(type) {
	case nil:
	case js.Error:
		*err = e
	default:
		panic(e)
	}
}

// handle calls do with each event of a type, under mu.
func (c *Conn) handle(event string, do func(event js.Value)) {
	if c.handlers == nil {
		c.handlers = make(map[string]js.Func)
	}
	f := js.FuncOf(func(_ js.Value, args []js.Value) any {
		c.mu.Lock()
		defer c.mu.Unlock()
		do(args[0])
		c.change()
		return nil
	})
	c.handlers[event] = f
	c.socket.Call("addEventListener", event, f)
}

// change wakes those that wait. Under mu.
func (c *Conn) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// message receives a message. Under mu.
func (c *Conn) message(event js.Value) {
	data := event.Get("data")
	if data.Type() == js.TypeString {
		c.text = true
		return
	}
	if c.text || c.closing {
		return
	}
	array := js.Global().Get("Uint8Array").New(data)
	if n := array.Length(); n > 0 {
		b := make([]byte, n)
		js.CopyBytesToGo(b, array)
		c.messages = append(c.messages, b)
	}
}

// closed receives the end of the connection. Under mu.
func (c *Conn) closed(event js.Value) {
	if c.err == nil {
		c.err = closeError(event.Get("code").Int(), event.Get("reason").String())
	}
	for name, f := range c.handlers {
		c.socket.Call("removeEventListener", name, f)
		f.Release()
	}
	c.handlers = nil
}

// The status codes of a close event.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
const (
	statusNormal    = 1000
	statusGoingAway = 1001
	statusNone      = 1005 // the close frame has none
	statusAbnormal  = 1006 // there was no close frame
)

// closeError returns Read's error for the end of a connection.
func closeError(code int, reason string) error {
	switch code {
	case statusNormal:
		if e, ok := parseCloseReason(reason); ok {
			return e
		}
		return io.EOF
	case statusGoingAway, statusNone:
		return io.EOF
	case statusAbnormal:
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("wsconn: peer closed with status %d, reason %q", code, reason)
}

// abandon closes the socket without a wait.
func (c *Conn) abandon() { c.closeSocket(statusNormal, "") }

func (c *Conn) closeSocket(code int, reason string) (err error) {
	defer recoverJS(&err)
	c.socket.Call("close", code, reason)
	return nil
}

// wait waits until done, which is called under mu, returns true. It returns ctx's
// error, or os.ErrDeadlineExceeded after the deadline, if that comes first.
func (c *Conn) wait(ctx context.Context, deadline time.Time, done func() bool) error {
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	for {
		c.mu.Lock()
		ok, changed := done(), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-expired:
			return os.ErrDeadlineExceeded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Read reads the next bytes of the peer's messages into p. It returns when p is full
// or a message ends.
//
// At the end it returns io.EOF if the peer closed normally; *frame.TransportError if
// the peer's close frame has a code; io.ErrUnexpectedEOF if the connection ended
// without a close frame; ErrTextMessage; net.ErrClosed after Close.
func (c *Conn) Read(p []byte) (n int, err error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for {
		c.mu.Lock()
		deadline := c.readDeadline
		c.mu.Unlock()
		err := c.wait(context.Background(), deadline, func() bool {
			return !c.readDeadline.Equal(deadline) || c.closing || len(c.messages) > 0 || c.text || c.err != nil
		})
		if err != nil && !c.readDeadlineMoved(deadline) {
			return 0, err
		}
		if n, err := c.take(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// readDeadlineMoved reports whether the deadline of Read is another one now.
func (c *Conn) readDeadlineMoved(before time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.readDeadline.Equal(before)
}

// take returns bytes that have come, or the error behind them.
func (c *Conn) take(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		return 0, net.ErrClosed
	case !c.readDeadline.IsZero() && !time.Now().Before(c.readDeadline):
		return 0, os.ErrDeadlineExceeded
	case len(c.messages) > 0:
		first := &c.messages[0]
		n = copy(p, *first)
		if *first = (*first)[n:]; len(*first) == 0 {
			c.messages[0] = nil
			c.messages = c.messages[1:]
		}
		return n, nil
	case c.text:
		return 0, ErrTextMessage
	}
	return 0, c.err
}

// Write sends p as one binary message. It waits while the browser has more than 1
// MiB that it has not sent. For an empty p it sends nothing. n is 0 or len(p).
func (c *Conn) Write(p []byte) (n int, err error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for {
		c.mu.Lock()
		deadline, closing, ended := c.writeDeadline, c.closing, c.err
		c.mu.Unlock()
		switch {
		case closing:
			return 0, net.ErrClosed
		case ended != nil:
			return 0, fmt.Errorf("wsconn: write: the connection has ended: %w", net.ErrClosed)
		case !deadline.IsZero() && !time.Now().Before(deadline):
			return 0, os.ErrDeadlineExceeded
		case c.socket.Get("bufferedAmount").Int() > maxBuffered:
			time.Sleep(pollInterval)
			continue
		}
		array := js.Global().Get("Uint8Array").New(len(p))
		js.CopyBytesToJS(array, p)
		if err := c.send(array); err != nil {
			return 0, fmt.Errorf("wsconn: write: %w", err)
		}
		return len(p), nil
	}
}

func (c *Conn) send(array js.Value) (err error) {
	defer recoverJS(&err)
	c.socket.Call("send", array)
	return nil
}

// Close sends a close frame and waits up to CloseTimeout for the end of the
// connection. A running Read or Write returns net.ErrClosed.
func (c *Conn) Close() error { return c.close("") }

// CloseTransportError is Close with a transport error in the close frame: the
// status is 1000, and the reason is the code in decimal, padded with spaces to ten
// characters. The caller writes the same error inside the stream before, where all
// clients support it. A later Close is harmless.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
func (c *Conn) CloseTransportError(code uint32) error {
	if code == 0 || code > 1<<31 {
		return fmt.Errorf("wsconn: %w: %d", frame.ErrCode, code)
	}
	return c.close(closeReason(code))
}

func (c *Conn) close(reason string) error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closing, c.messages = true, nil
	c.change()
	c.mu.Unlock()
	if err := c.closeSocket(statusNormal, reason); err != nil {
		return fmt.Errorf("wsconn: close: %w", err)
	}
	c.wait(context.Background(), time.Now().Add(c.closeTimeout), func() bool { return c.err != nil })
	return nil
}

// LocalAddr returns an address of the network "websocket": browsers do not tell.
func (c *Conn) LocalAddr() net.Addr { return address("browser") }

// RemoteAddr returns the host of the URL, as an address of the network "websocket".
func (c *Conn) RemoteAddr() net.Addr { return c.address }

// address is an address of a browser's connection.
type address string

func (a address) Network() string { return "websocket" }

func (a address) String() string { return string(a) }

// SetDeadline calls SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read, or removes it if t is zero.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readDeadline, t) }

// SetWriteDeadline sets the deadline of Write, or removes it if t is zero.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeDeadline, t) }

func (c *Conn) setDeadline(deadline *time.Time, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	*deadline = t
	c.change()
	return nil
}

// Server is not available in a browser.
func Server(_ context.Context, conn net.Conn, _ *ServerConfig) (*Conn, error) {
	conn.Close()
	return nil, fmt.Errorf("wsconn: a server in a browser: %w", errors.ErrUnsupported)
}

// Accept is not available in a browser.
func Accept(http.ResponseWriter, *http.Request, *ServerConfig) (*Conn, error) {
	return nil, fmt.Errorf("wsconn: a server in a browser: %w", errors.ErrUnsupported)
}
