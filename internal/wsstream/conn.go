package wsstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// maxPayload limits a frame that is written, and so the pooled buffers.
const maxPayload = 64 << 10

// closeTime limits the time that Close waits until a close frame is written.
const closeTime = 100 * time.Millisecond

// The statuses of close frames.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
const (
	statusNormal    = 1000
	statusGoingAway = 1001
	statusProtocol  = 1002
)

// CloseError is Read's error for a close frame that is no normal one.
type CloseError struct {
	Status int // such as 1011
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("the WebSocket was closed with status %d, reason %q", e.Status, e.Reason)
}

// errClosedByPeer is Write's error after the peer's close frame, or CloseWrite.
var errClosedByPeer = fmt.Errorf("the WebSocket is closed: %w", io.ErrClosedPipe)

// Conn is a WebSocket of a client as a byte stream. Read and Write may be called
// concurrently with each other and with the other methods, but neither with itself. Pings
// are answered by a Read.
type Conn struct {
	net.Conn // TLS, or a socket

	// Used by Read.
	leftover []byte // received with the answer to the request
	frames   deframer
	readErr  error

	wmu       sync.Mutex
	writeErr  error
	closeSent atomic.Bool // set under wmu

	// Control frames that wait to be written by a goroutine, since a Read must not
	// wait for the peer to read.
	cmu     sync.Mutex
	pong    []byte // a whole frame
	closing []byte
	running bool
	closed  bool // by Close
}

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, maxHeader+maxPayload)
	return &b
}}

// NetConn returns the connection below. A Read or Write on it breaks the stream.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read reads the next bytes of the peer's messages. At the peer's close frame it returns
// io.EOF, or a CloseError. A deadline may end it anywhere; all other errors are final.
func (c *Conn) Read(p []byte) (n int, err error) {
	if c.readErr != nil || len(p) == 0 {
		return 0, c.readErr
	}
	for {
		var read int
		if len(c.leftover) > 0 {
			read = copy(p, c.leftover)
			if c.leftover = c.leftover[read:]; len(c.leftover) == 0 {
				c.leftover = nil
			}
		} else {
			read, err = c.Conn.Read(p)
		}
		n, bad := c.frames.deframe(p[:read], c.control)
		if bad != nil {
			c.readErr = bad
			if errors.Is(bad, ErrFrame) {
				c.startClose(statusProtocol)
			}
		} else if err != nil && !netx.IsTimeout(err) {
			c.readErr = err
			if errors.Is(err, io.EOF) && (c.frames.have > 0 || c.frames.inMessage) {
				c.readErr = io.ErrUnexpectedEOF
			}
		}
		switch {
		case n > 0:
			return n, nil // and the error later
		case c.readErr != nil:
			if c.isClosed() { // the peer's answer to the close frame is no end of its own
				c.readErr = net.ErrClosed
			}
			return 0, c.readErr
		case err != nil:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// control handles a control frame of the peer. Its error ends the stream.
func (c *Conn) control(opcode byte, payload []byte) error {
	switch opcode {
	case opPing:
		c.cmu.Lock()
		defer c.cmu.Unlock()
		// A pong takes the place of one that was not written yet.
		// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3
		c.pong = appendFrame(c.pong[:0], opPong, payload)
		c.startWriting()
	case opClose:
		c.startClose(statusNormal)
		return closeError(payload)
	}
	return nil
}

// closeError returns Read's error for the payload of a close frame.
func closeError(payload []byte) error {
	if len(payload) < 2 {
		return io.EOF
	}
	status := int(binary.BigEndian.Uint16(payload))
	if status == statusNormal || status == statusGoingAway {
		return io.EOF
	}
	return &CloseError{status, string(payload[2:])}
}

// startClose has a close frame written behind what was written before.
func (c *Conn) startClose(status uint16) {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if c.closing == nil {
		c.closing = appendFrame(nil, opClose, binary.BigEndian.AppendUint16(nil, status))
		c.startWriting()
	}
}

// startWriting starts a goroutine that writes the control frames, unless there is one.
// Under cmu.
func (c *Conn) startWriting() {
	if !c.running && !c.closed {
		c.running = true
		go c.writeControls()
	}
}

func (c *Conn) writeControls() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	for {
		c.cmu.Lock()
		frames, closes := append(c.pong, c.closing...), len(c.closing) > 0
		if len(frames) == 0 || c.closeSent.Load() || c.writeErr != nil {
			c.running = false
			c.cmu.Unlock()
			return
		}
		c.pong = nil
		c.cmu.Unlock()
		if _, err := c.Conn.Write(frames); err != nil {
			c.writeErr = err
		} else if closes {
			c.closeSent.Store(true)
		}
	}
}

// Write sends p in messages of at most 64 KiB, each with one Write to the connection
// below. An error is final, also that of a deadline.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for n < len(p) {
		switch {
		case c.writeErr != nil:
			return n, c.writeErr
		case c.closeSent.Load():
			return n, errClosedByPeer
		}
		part := p[n:min(n+maxPayload, len(p))]
		*b = appendFrame((*b)[:0], opBinary, part)
		if _, err := c.Conn.Write(*b); err != nil {
			c.writeErr = err
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// CloseWrite sends a close frame, behind which nothing more is sent. What the peer sends
// before its own is still read. It does not wait.
func (c *Conn) CloseWrite() error {
	c.startClose(statusNormal)
	return nil
}

func (c *Conn) isClosed() bool {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	return c.closed
}

// Close sends a close frame, unless the peer does not read, and closes the connection
// below.
func (c *Conn) Close() error {
	c.cmu.Lock()
	if c.closed {
		c.cmu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	c.cmu.Unlock()
	_ = c.Conn.SetWriteDeadline(time.Now().Add(closeTime))
	if c.wmu.TryLock() {
		defer c.wmu.Unlock()
		if c.writeErr == nil && !c.closeSent.Load() {
			_, c.writeErr = c.Conn.Write(appendFrame(nil, opClose, binary.BigEndian.AppendUint16(nil, statusNormal)))
			c.closeSent.Store(true)
		}
		if c.writeErr == nil {
			return c.Conn.Close()
		}
	}
	// TLS would wait for its alert to be written.
	if below, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		return below.NetConn().Close()
	}
	return c.Conn.Close()
}
