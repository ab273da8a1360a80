//go:build !js

package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
)

// Conn is a WebSocket as one stream of bytes.
//
// Read, Write, Close and the deadline methods may be called concurrently. Reads
// are serialized, and so are Writes. Read answers the peer's control frames, so
// the caller must keep a Read pending to answer pings. The pong is sent behind the
// message that is being written, and no Read waits for it. Of several pings that
// arrive meanwhile, the last one is answered.
//
// WebSocket has no half-close: there is no CloseWrite, and once either side has
// closed, no data moves in either direction.
//
// A deadline unblocks Read or Write with an error that is os.ErrDeadlineExceeded
// and a net.Error with Timeout. If Read was waiting for the next frame, it can be
// called again. If the deadline passes inside a frame, or in a Write that has
// begun, every later call of that direction returns ErrBroken. All other errors
// are permanent: each direction keeps its first.
type Conn struct {
	ws           *websocket.Conn
	stream       *stream
	closeTimeout time.Duration

	rmu    sync.Mutex
	reader io.Reader // rest of the message being read, or nil
	rerr   error

	wmu           sync.Mutex
	werr          error
	writeDeadline atomic.Int64 // Unix nanoseconds; 0 is none

	keepAlive keepAlive

	dmu         sync.Mutex // also guards the deadlines of the connection below
	closing     bool
	closeStatus websocket.StatusCode
}

var _ net.Conn = (*Conn)(nil)

func newConn(ws *websocket.Conn, s *stream, closeTimeout, pingInterval time.Duration) *Conn {
	// The default limit is for callers that hold whole messages.
	ws.SetReadLimit(-1)
	if closeTimeout <= 0 {
		closeTimeout = defaultCloseTimeout
	}
	c := &Conn{
		ws: ws, stream: s, closeTimeout: closeTimeout,
		closeStatus: websocket.StatusNormalClosure,
	}
	c.startKeepAlive(pingInterval)
	return c
}

// Read reads the next bytes of the peer's messages into p, and never across the
// boundary of a frame. It returns when p is full or the frame ends.
//
// At the end it returns io.EOF if the peer closed normally or its connection
// ended between frames; *frame.TransportError if the peer's close frame has a
// code; io.ErrUnexpectedEOF if the connection ended inside a frame;
// *CloseError for another close frame than a normal one; ErrTextMessage; ErrPingTimeout; net.ErrClosed after Close.
func (c *Conn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.rerr != nil {
		return 0, c.rerr
	}
	if len(p) == 0 {
		return 0, nil
	}
	c.keepAlive.reading.Add(1)
	defer c.keepAlive.reading.Add(-1)
	for {
		n, err := c.readMessage(p)
		if err != nil {
			return 0, c.readFailed(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// readMessage reads from the current message, or waits for the next one. At the
// end of a message it returns 0, nil.
func (c *Conn) readMessage(p []byte) (int, error) {
	// A context with an end would cost an allocation for each call, and its end
	// would close the connection. Deadlines act on the connection below instead.
	if c.reader == nil {
		typ, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return 0, err
		}
		if typ != websocket.MessageBinary {
			c.setCloseStatus(websocket.StatusUnsupportedData)
			return 0, ErrTextMessage
		}
		c.reader = r
	}
	n, err := c.reader.Read(p)
	if err == io.EOF {
		c.reader, err = nil, nil
	}
	return n, err
}

// readFailed returns Read's error for an error of the library, and stores it unless
// Read can be called again.
func (c *Conn) readFailed(err error) error {
	ending := readEnd(c.stream.readEnd.Swap(int32(otherEnd)))
	if c.isClosing() {
		c.rerr = net.ErrClosed
		return c.rerr
	}
	var closed websocket.CloseError
	switch {
	case c.keepAlive.timedOut.Load():
		c.rerr = ErrPingTimeout
	case errors.As(err, &closed):
		c.rerr = closeError(closed)
	case ending == timeoutAtBoundary:
		return os.ErrDeadlineExceeded
	case ending == timeoutInFrame:
		c.rerr = ErrBroken
		return os.ErrDeadlineExceeded
	case ending == eofAtBoundary:
		c.rerr = io.EOF
	case ending == eofInFrame:
		c.rerr = io.ErrUnexpectedEOF
	case errors.Is(err, ErrTextMessage):
		c.rerr = err
	default:
		c.rerr = fmt.Errorf("wsconn: read: %w", err)
	}
	c.dmu.Lock()
	c.stopKeepAlive()
	c.dmu.Unlock()
	return c.rerr
}

// closeError returns Read's error for the peer's close frame.
func closeError(closed websocket.CloseError) error {
	switch closed.Code {
	case websocket.StatusNormalClosure:
		if e, ok := parseCloseReason(closed.Reason); ok {
			return e
		}
		return io.EOF
	case websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return io.EOF
	}
	return &CloseError{Status: int(closed.Code), Reason: closed.Reason}
}

// Write sends p as one binary message, up to 64 KiB with one write to the
// connection below. For an empty p it sends nothing. On error it returns 0,
// because the number of bytes that the peer has received is unknown.
func (c *Conn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.werr != nil {
		return 0, c.werr
	}
	if len(p) == 0 {
		return 0, nil
	}
	if t := c.writeDeadline.Load(); t != 0 && time.Now().UnixNano() >= t {
		return 0, os.ErrDeadlineExceeded
	}
	c.stream.beginFrame(frameLength(len(p), c.stream.masked))
	err := c.ws.Write(context.Background(), websocket.MessageBinary, p)
	c.stream.endFrame()
	switch {
	case err == nil:
		return len(p), nil
	case c.isClosing():
		c.werr = net.ErrClosed
	case c.keepAlive.timedOut.Load():
		c.werr = ErrPingTimeout
	case netx.IsTimeout(err):
		c.werr = ErrBroken
		return 0, os.ErrDeadlineExceeded
	default:
		c.werr = fmt.Errorf("wsconn: write: %w", err)
	}
	return 0, c.werr
}

// Close sends a close frame, waits up to CloseTimeout for the peer's close frame,
// and closes the connection below. A running Write has the same time to finish; a
// running Read returns net.ErrClosed by then.
//
// The peer's close frame confirms that the peer has read all data: closing a TCP
// connection with unread bytes would reset it.
func (c *Conn) Close() error {
	c.dmu.Lock()
	status := c.closeStatus
	c.dmu.Unlock()
	_, err := c.close(status, "")
	return err
}

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
	sent, err := c.close(websocket.StatusNormalClosure, closeReason(code))
	if err == nil && sent != nil {
		return fmt.Errorf("wsconn: close frame not sent: %w", sent)
	}
	return err
}

func (c *Conn) close(status websocket.StatusCode, reason string) (sent, err error) {
	c.dmu.Lock()
	if c.closing {
		c.dmu.Unlock()
		return nil, net.ErrClosed
	}
	c.closing = true
	c.stopKeepAlive()
	c.stream.controls.end()
	// Every blocking operation of c is one of the connection below.
	_ = c.stream.SetDeadline(time.Now().Add(c.closeTimeout))
	c.dmu.Unlock()

	defer c.stream.controls.writers.Wait() // their writes end with the connection below
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.werr != nil {
		_ = c.ws.CloseNow()
		return c.werr, nil
	}
	c.werr = net.ErrClosed
	// The error is about the peer's close frame, which no caller of Close needs.
	_ = c.ws.Close(status, reason)
	return c.stream.writeError(), nil
}

// setCloseStatus sets the status that Close sends.
func (c *Conn) setCloseStatus(status websocket.StatusCode) {
	c.dmu.Lock()
	c.closeStatus = status
	c.dmu.Unlock()
}

func (c *Conn) isClosing() bool {
	c.dmu.Lock()
	defer c.dmu.Unlock()
	return c.closing
}

// NetConn returns the connection below: a socket, or TLS. A Read or Write on it breaks
// the stream.
func (c *Conn) NetConn() net.Conn { return c.stream.Conn }

// LocalAddr returns the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.stream.LocalAddr() }

// RemoteAddr returns the remote address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.stream.RemoteAddr() }

// SetDeadline calls SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read, or removes it if t is zero.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.dmu.Lock()
	defer c.dmu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	return c.stream.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of Write, or removes it if t is zero. It also
// applies to pongs: one that a deadline kept from being sent is sent afterwards.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.dmu.Lock()
	defer c.dmu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	nanos := int64(0)
	if !t.IsZero() {
		nanos = t.UnixNano()
	}
	c.writeDeadline.Store(nanos)
	err := c.stream.SetWriteDeadline(t)
	c.stream.retryControls()
	return err
}
