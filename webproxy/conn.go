package webproxy

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// Conn is one stream of a session as a net.Conn: a connection of an app to an
// MTProxy. Its bytes begin with the init payload of the obfuscation.
//
// All methods may be called concurrently. Reads are serialized, and so are Writes.
// Write queues bytes and returns; it waits while the peer's window is closed or the
// session's memory is used up. There is no half-close: Close sends what was written
// before, and ends both directions. When the peer closes, Read returns the bytes
// that have arrived, and then io.EOF. When the session ends, it returns another
// error. A deadline makes calls fail with os.ErrDeadlineExceeded; those after a new
// deadline go on where they were.
type Conn struct {
	mux    *mux
	stream *Stream
	// At a relay.
	user    *serverUser
	account *account
	local   net.Addr
	remote  net.Addr
	closer  func() // after Close, at a relay

	readMu  sync.Mutex
	current []byte // what is left of an item of inbox
	charge  int    // what current is charged with
	read    int    // bytes that were read and not granted again

	writeMu sync.Mutex

	readable                    chan struct{}
	readDeadline, writeDeadline deadline

	// The mutex of mux guards these.
	writable chan struct{} // made for a Write that waits
	inbox    [][]byte      // see enqueue
	closed   bool          // by Close
	readErr  error         // behind inbox
	writeErr error
}

var _ net.Conn = (*Conn)(nil)

func newConn(m *mux, s *Stream) *Conn {
	return &Conn{mux: m, stream: s, readable: make(chan struct{}, 1)}
}

// gone ends both directions with err. The caller holds mux.mu.
func (c *Conn) gone(err error) { c.fail(err, err) }

// closedByPeer ends both directions in order. The caller holds mux.mu.
func (c *Conn) closedByPeer() { c.fail(io.EOF, errStreamClosed) }

func (c *Conn) fail(readErr, writeErr error) {
	if c.readErr == nil || c.closed {
		c.readErr, c.writeErr = readErr, writeErr
	}
	notify(c.readable)
	notify(c.writable)
}

// enqueue adds a DATA frame's bytes to those that wait to be read, and returns what they are
// charged with. The window limits bytes and not frames, so short ones are joined. If keep is
// set, payload belongs to c. The caller holds mux.mu.
func (c *Conn) enqueue(payload []byte, keep bool) (charge int) {
	if last := len(c.inbox) - 1; last >= 0 && len(c.inbox[last])+len(payload) <= maxJoined {
		c.inbox[last] = append(c.inbox[last], payload...)
		return len(payload)
	}
	if !keep {
		payload = append([]byte(nil), payload...)
	}
	c.inbox = append(c.inbox, payload)
	return len(payload) + itemCharge
}

// Read reads the next bytes.
func (c *Conn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if c.readDeadline.passed() {
		return 0, os.ErrDeadlineExceeded
	}
	for len(c.current) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
		if len(c.current) > 0 {
			break
		}
		select {
		case <-c.readable:
		case <-c.readDeadline.wait():
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(p, c.current)
	c.current = c.current[n:]
	c.read += n
	if len(c.current) == 0 {
		c.current = nil
		c.delivered()
	}
	return n, nil
}

// next takes the next bytes that wait, if there are any, and otherwise returns the error
// behind them.
func (c *Conn) next() error {
	m := c.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.closed || len(c.inbox) == 0 {
		if c.readErr != nil {
			notify(c.readable) // for the next Read
		}
		return c.readErr
	}
	c.current, c.charge = c.inbox[0], len(c.inbox[0])+itemCharge
	c.inbox[0] = nil
	if c.inbox = c.inbox[1:]; len(c.inbox) == 0 {
		c.inbox = nil
	}
	return nil
}

// delivered gives back the memory of what has been read, and allows the
// peer to send more.
func (c *Conn) delivered() {
	m := c.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delivered(c.charge)
	c.charge = 0
	if id := c.stream.id; c.read >= grantThreshold && m.conns[id] == c {
		m.send(m.laneOf(id), Frame{Type: WindowFrame, Stream: id, Payload: c.stream.AppendWindow(nil, c.read)[HeaderLength:]})
		c.read = 0
	}
}

// Write queues p to be sent. After a deadline, or an error, it returns the number of
// bytes that were queued.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	for {
		if c.writeDeadline.passed() {
			return n, os.ErrDeadlineExceeded
		}
		c.mux.mu.Lock()
		err := c.writeErr
		queued := 0
		if err == nil && n < len(p) {
			queued = c.mux.write(c, p[n:])
		}
		if c.writable == nil && queued == 0 {
			c.writable = make(chan struct{}, 1)
		}
		writable := c.writable
		c.mux.mu.Unlock()
		if n += queued; err != nil || n == len(p) {
			return n, err
		}
		if queued > 0 {
			continue
		}
		select {
		case <-writable:
		case <-c.writeDeadline.wait():
			return n, os.ErrDeadlineExceeded
		}
	}
}

// Close closes the stream. What was written is sent before; what was not read is
// dropped. It does not wait.
func (c *Conn) Close() error {
	m := c.mux
	m.mu.Lock()
	if c.closed {
		m.mu.Unlock()
		return net.ErrClosed
	}
	m.close(c)
	m.mu.Unlock()
	c.readDeadline.set(time.Time{})
	c.writeDeadline.set(time.Time{})
	// A running Read returns, and its frame's memory is given back.
	c.readMu.Lock()
	if c.charge > 0 {
		c.current = nil
		c.delivered()
	}
	c.readMu.Unlock()
	if c.closer != nil {
		c.closer()
	}
	return nil
}

// StreamID returns the stream's id in its session.
func (c *Conn) StreamID() uint32 { return c.stream.id }

// User returns the name of the user whose capability the session has, at a relay.
func (c *Conn) User() string {
	if c.user == nil {
		return ""
	}
	return c.user.Name
}

// Secret returns the secret that the session's capability is of, at a relay: the
// user's key, in the mode plain or padded. The client inside the stream must have
// the same key.
func (c *Conn) Secret() mtproxy.Secret {
	if c.user == nil {
		return mtproxy.Secret{}
	}
	return c.user.Secret
}

// LocalAddr returns the relay's address, or a name for it.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns, at a relay, the address of the session's client. Its port is
// 0: streams share connections, and a session uses many.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines. A zero time is none.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readDeadline, t) }

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeDeadline, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	c.mux.mu.Lock()
	closed := c.closed
	c.mux.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	d.set(t)
	return nil
}
