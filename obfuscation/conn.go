package obfuscation

import (
	"crypto/cipher"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
)

// Conn is the obfuscated byte stream over another connection. Reads and
// writes may run at the same time, and so may several of either, which then
// take turns.
//
// A direction keeps its first error: a key stream that has lost step with the
// other end's is of no use. For writes that is any error; for reads a timeout
// is not one, since it loses no byte.
type Conn struct {
	conn net.Conn
	in   half
	out  half

	// init is sent in front of the first write; empty on a server and once
	// sent. Under out's lock.
	init []byte
}

// half is one direction.
type half struct {
	sync.Mutex
	stream cipher.Stream
	err    error
}

// NewConn returns the obfuscated stream over conn whose init payload has been
// sent or read; s are the ciphers behind it.
func NewConn(conn net.Conn, s Streams) *Conn {
	c := &Conn{conn: conn}
	c.in.stream, c.out.stream = s.Receive, s.Send
	return c
}

// Client returns the client's end of a new connection. It sends nothing yet: the
// init payload goes out in front of the first Write, in one piece with it.
func Client(conn net.Conn, config *ClientConfig) (*Conn, error) {
	payload, init, err := NewInit(config)
	if err != nil {
		return nil, err
	}
	c := NewConn(conn, init.Streams(frame.Client))
	c.init = payload[:]
	return c, nil
}

// Accept is the server's end of a new connection: it reads the init payload
// from conn and matches it. It blocks until 64 bytes have come; give conn a
// deadline before. For a connection whose first bytes have been read, use Match
// and NewConn.
func Accept(conn net.Conn, keys [][16]byte) (*Conn, Init, error) {
	var payload [InitLength]byte
	if _, err := io.ReadFull(conn, payload[:]); err != nil {
		return nil, Init{}, err
	}
	init, err := Match(&payload, keys)
	if err != nil {
		return nil, Init{}, err
	}
	return NewConn(conn, init.Streams(frame.Server)), init, nil
}

// Read reads and decrypts. All of p may be used as scratch space, but none of
// it is ciphertext when Read returns.
func (c *Conn) Read(p []byte) (int, error) {
	c.in.Lock()
	defer c.in.Unlock()
	if c.in.err != nil {
		return 0, c.in.err
	}
	n, err := c.conn.Read(p)
	c.in.stream.XORKeyStream(p[:n], p[:n])
	c.in.keep(err)
	return n, err
}

// ReadFunc is Read for a caller who brings the bytes: it decrypts in place
// what read returns. read must take its bytes from NetConn. It is for servers
// that borrow a buffer only when there is something to put into it.
func (c *Conn) ReadFunc(read func() ([]byte, error)) ([]byte, error) {
	c.in.Lock()
	defer c.in.Unlock()
	if c.in.err != nil {
		return nil, c.in.err
	}
	b, err := read()
	c.in.stream.XORKeyStream(b, b)
	c.in.keep(err)
	return b, err
}

// keep makes err the direction's last word, unless it is a deadline's.
func (h *half) keep(err error) {
	if err != nil && !netx.IsTimeout(err) {
		h.err = err
	}
}

// Write encrypts a copy of p and sends it in one Write. p is left as it was.
func (c *Conn) Write(p []byte) (int, error) { return c.WritePieces(p, nil, nil) }

// WritePieces writes the pieces one behind the other in one Write, and returns
// how many of their bytes went out. It saves a caller with an envelope and a
// payload the copy that would join them.
func (c *Conn) WritePieces(head, body, tail []byte) (int, error) {
	c.out.Lock()
	defer c.out.Unlock()
	if c.out.err != nil {
		return 0, c.out.err
	}
	start := len(c.init)
	total := start + len(head) + len(body) + len(tail)
	if total == 0 {
		return 0, nil
	}
	scratch := bufpool.Get(total)
	defer bufpool.Put(scratch)
	b := scratch.B[:total]

	n := copy(b, c.init)
	n += copy(b[n:], head)
	if len(body) <= shortBody {
		n += copy(b[n:], body)
		copy(b[n:], tail)
		c.out.stream.XORKeyStream(b[start:], b[start:])
	} else {
		c.out.stream.XORKeyStream(b[start:n], b[start:n])
		c.out.stream.XORKeyStream(b[n:], body)
		n += len(body)
		copy(b[n:], tail)
		c.out.stream.XORKeyStream(b[n:], b[n:])
	}
	c.init = nil

	sent, err := c.conn.Write(b)
	if err == nil && sent < total {
		err = io.ErrShortWrite
	}
	c.out.err = err // even a timeout: the key stream is ahead of the bytes
	return max(0, sent-start), err
}

// shortBody is the length up to which joining the pieces first is cheaper than
// starting the cipher for each: it works on eight blocks at a time.
const shortBody = 8 << 10

// NetConn returns the connection below. Reading from it or writing to it puts
// the key streams out of step.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Close closes the connection below.
func (c *Conn) Close() error { return c.conn.Close() }

// CloseWrite closes the sending direction. The error is errors.ErrUnsupported if
// the connection below has no half-close.
func (c *Conn) CloseWrite() error { return netx.CloseWrite(c.conn) }

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline sets the deadline of both directions; see the type's comment
// for what passing one means.
func (c *Conn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// SetReadDeadline sets the deadline for reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline for writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }
