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
)

// subprotocol is the only one that MTProto servers speak.
const subprotocol = "binary"

// defaultCloseTimeout is long enough for a round trip to the other side of
// the world and short enough for a caller that closes many connections.
const defaultCloseTimeout = time.Second

// Conn is a WebSocket seen as one stream of bytes.
//
// Read, Write, Close and the deadline methods may be called at the same time;
// two Reads, and two Writes, wait for each other. Control frames of the peer
// are answered inside Read, so somebody has to read.
//
// WebSocket has no half close: there is no CloseWrite, and after either side
// closed, nothing moves in either direction.
//
// Deadlines unblock a Read or a Write at once with an error that is
// os.ErrDeadlineExceeded and a net.Error with Timeout. A Read that was waiting
// for the next frame can be tried again. If the deadline passes inside a
// frame, or in a Write that has begun, that direction is lost, and every later
// call returns ErrBroken. All other errors are kept for ever too, each
// direction its first.
type Conn struct {
	ws           *websocket.Conn
	stream       *stream
	masked       bool // the frames we write are; client only
	closeTimeout time.Duration

	rmu    sync.Mutex
	reader io.Reader // rest of the message being read, or nil
	rerr   error

	wmu           sync.Mutex
	werr          error
	writeDeadline atomic.Int64 // Unix nanoseconds; 0 is none

	dmu         sync.Mutex // deadlines of the connection below, and who sets them
	closing     bool
	closeStatus websocket.StatusCode
}

var _ net.Conn = (*Conn)(nil)

func newConn(ws *websocket.Conn, s *stream, masked bool, closeTimeout time.Duration) *Conn {
	// The default limit is there for callers that hold whole messages.
	ws.SetReadLimit(-1)
	if closeTimeout <= 0 {
		closeTimeout = defaultCloseTimeout
	}
	return &Conn{
		ws: ws, stream: s, masked: masked, closeTimeout: closeTimeout,
		closeStatus: websocket.StatusNormalClosure,
	}
}

// Read reads the next bytes of the peer's messages into p, never across the
// border of a frame. It returns when p, or what the frame has left, is there.
//
// At the end it returns io.EOF if the peer closed normally, or if its
// connection ended between frames; *frame.TransportError if the peer's close
// frame carries one; io.ErrUnexpectedEOF if the connection ended inside a
// frame; ErrTextMessage; net.ErrClosed after Close.
func (c *Conn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.rerr != nil {
		return 0, c.rerr
	}
	if len(p) == 0 {
		return 0, nil
	}
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

// readMessage reads from the message at hand, or waits for the next one. At
// the end of a message it returns 0, nil.
func (c *Conn) readMessage(p []byte) (int, error) {
	// A context that can end would cost an allocation a call and would close
	// the connection; deadlines act on the connection below.
	if c.reader == nil {
		typ, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return 0, err
		}
		if typ != websocket.MessageBinary {
			c.refuse(websocket.StatusUnsupportedData)
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

// readFailed turns an error of the library into the one to return, and keeps
// it unless the read can be tried again.
func (c *Conn) readFailed(err error) error {
	how := interruption(c.stream.interrupted.Swap(int32(uninterrupted)))
	if c.isClosing() {
		c.rerr = net.ErrClosed
		return c.rerr
	}
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed):
		c.rerr = closeError(closed)
	case how == timeoutAtBorder:
		return os.ErrDeadlineExceeded
	case how == timeoutInFrame:
		c.rerr = ErrBroken
		return os.ErrDeadlineExceeded
	case how == endAtBorder:
		c.rerr = io.EOF
	case how == endInFrame:
		c.rerr = io.ErrUnexpectedEOF
	case errors.Is(err, ErrTextMessage):
		c.rerr = err
	case errors.Is(err, os.ErrDeadlineExceeded):
		// Not our deadline: a pong could not be written in time.
		c.rerr = fmt.Errorf("wsconn: cannot answer a control frame: %v", err)
	default:
		c.rerr = fmt.Errorf("wsconn: read: %w", err)
	}
	return c.rerr
}

// closeError says what the peer's close frame means to a reader.
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
	return fmt.Errorf("wsconn: peer closed with status %d, reason %q", int(closed.Code), closed.Reason)
}

// Write sends p as one binary message, in one write below for messages up to
// 64 KiB. Nothing is sent for an empty p. On an error the number of bytes is
// 0: how much of a frame the peer got is not known.
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
	c.stream.announce(frameLength(len(p), c.masked))
	err := c.ws.Write(context.Background(), websocket.MessageBinary, p)
	c.stream.settle()
	switch {
	case err == nil:
		return len(p), nil
	case c.isClosing():
		c.werr = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.werr = ErrBroken
		return 0, os.ErrDeadlineExceeded
	default:
		c.werr = fmt.Errorf("wsconn: write: %w", err)
	}
	return 0, c.werr
}

// Close sends a close frame, waits for the peer's for at most CloseTimeout,
// and closes the connection below. A Write under way is given that time to
// end; a Read under way returns net.ErrClosed by then.
//
// Waiting is what lets the peer read everything: closing a TCP connection that
// has unread bytes resets it.
func (c *Conn) Close() error {
	_, err := c.close(c.refusal(), "")
	return err
}

// CloseTransportError closes as Close does, and tells the peer a transport
// error: close code 1000 with the code in decimal, padded with spaces to ten
// characters, as the reason. The same error inside the stream, which all
// clients understand, is the caller's to write before. Calling Close as well
// does no harm.
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
	// Everything in this connection that blocks, blocks below.
	_ = c.stream.SetDeadline(time.Now().Add(c.closeTimeout))
	c.dmu.Unlock()

	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.werr != nil {
		_ = c.ws.CloseNow()
		return c.werr, nil
	}
	c.werr = net.ErrClosed
	// Its error says how the peer took it, which no caller of Close can use.
	_ = c.ws.Close(status, reason)
	return c.stream.writeError(), nil
}

// refuse chooses the status that Close will send.
func (c *Conn) refuse(status websocket.StatusCode) {
	c.dmu.Lock()
	c.closeStatus = status
	c.dmu.Unlock()
}

func (c *Conn) refusal() websocket.StatusCode {
	c.dmu.Lock()
	defer c.dmu.Unlock()
	return c.closeStatus
}

func (c *Conn) isClosing() bool {
	c.dmu.Lock()
	defer c.dmu.Unlock()
	return c.closing
}

// LocalAddr is the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.stream.LocalAddr() }

// RemoteAddr is the remote address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.stream.RemoteAddr() }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets when Read gives up; the zero time is never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.dmu.Lock()
	defer c.dmu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	return c.stream.SetReadDeadline(t)
}

// SetWriteDeadline sets when Write gives up; the zero time is never. It holds
// for the answers to the peer's control frames as well.
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
	return c.stream.SetWriteDeadline(t)
}
