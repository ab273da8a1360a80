package obfuscation

import (
	"crypto/cipher"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
)

// Conn is an obfuscated byte stream over another connection. Its methods may be
// called concurrently: Reads exclude each other, and so do Writes.
//
// Each direction keeps its first error, because its key stream may be out of step
// with the peer's after it: later calls return the same. After a timeout of a Write,
// later ones return an error that is net.ErrClosed. A timeout of a Read is not kept,
// since it loses no byte.
type Conn struct {
	conn net.Conn
	in   half
	out  half

	// payload is the init payload, which is sent ahead of the first Write. It is
	// empty on a server and after that Write. Guarded by out.
	payload []byte
}

// half is one direction.
type half struct {
	sync.Mutex
	stream cipher.Stream
	err    error
}

// NewConn returns the obfuscated stream over conn, on which the init payload has
// been sent or received. s are the ciphers from Init.Streams.
func NewConn(conn net.Conn, s Streams) *Conn {
	c := &Conn{conn: conn}
	c.in.stream, c.out.stream = s.Receive, s.Send
	return c
}

// Client returns the client's end of a new connection over conn. It sends nothing:
// the first Write sends the init payload ahead of its bytes, in one Write below. Errors are
// those of NewInit, and leave conn open.
func Client(conn net.Conn, config *ClientConfig) (*Conn, error) {
	payload, init, err := NewInit(config)
	if err != nil {
		return nil, err
	}
	c := NewConn(conn, init.Streams(frame.Client))
	c.payload = payload[:]
	return c, nil
}

// Accept returns the server's end of a new connection over conn, and the content of
// the init payload. It reads 64 bytes and passes them to Match; the caller sets a
// deadline on conn before. A server that has read the first bytes already, or that
// forwards unauthenticated clients, uses Match and NewConn.
//
// The error is ErrNoMatch, or that of reading. It leaves conn open, without the bytes that
// were read.
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

// Read reads and decrypts bytes. It may use all of p as scratch space, but leaves no
// ciphertext in it.
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

// ReadFunc decrypts in place the bytes that read returns, and returns them. read must
// read from NetConn, in order. It is Read for a server that borrows a buffer only
// when there are bytes for it.
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

// keep stores a final error: any but a timeout.
func (h *half) keep(err error) {
	if err != nil && !netx.IsTimeout(err) {
		h.err = err
	}
}

// Write encrypts a copy of p and sends it in one Write below. p is not changed.
func (c *Conn) Write(p []byte) (int, error) { return c.WritePieces(p, nil, nil) }

// WritePieces is Write for the concatenated pieces: it saves a caller with an
// envelope and a payload the copy that joins them. It returns the number of their
// bytes that were sent.
func (c *Conn) WritePieces(head, body, tail []byte) (int, error) {
	c.out.Lock()
	defer c.out.Unlock()
	if c.out.err != nil {
		return 0, c.out.err
	}
	start := len(c.payload)
	total := start + len(head) + len(body) + len(tail)
	if total == 0 {
		return 0, nil
	}
	scratch := bufpool.Get(total)
	defer bufpool.Put(scratch)
	b := scratch.B[:total]

	n := copy(b, c.payload)
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
	c.payload = nil

	sent, err := c.conn.Write(b)
	if err == nil && sent < total {
		err = io.ErrShortWrite
	}
	if c.out.err = err; netx.IsTimeout(err) { // the key stream is ahead of the bytes
		c.out.err = errWriteTimeout
	}
	return max(0, sent-start), err
}

// errWriteTimeout is the error of each Write after one that timed out. It is no
// timeout itself, so that a loop which retries after timeouts ends.
var errWriteTimeout = fmt.Errorf("obfuscation: an earlier Write timed out: %w", net.ErrClosed)

// shortBody is the length up to which it is cheaper to join the pieces first than to
// call the cipher for each of them: it works on eight blocks at a time.
const shortBody = 8 << 10

// NetConn returns the connection below. A Read or Write on it puts the key streams
// out of step with the peer's.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Close closes the connection below.
func (c *Conn) Close() error { return c.conn.Close() }

// CloseWrite closes the sending direction. The error is errors.ErrUnsupported if
// the connection below has no half-close.
func (c *Conn) CloseWrite() error { return netx.CloseWrite(c.conn) }

// LocalAddr returns the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the remote address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline sets both deadlines of the connection below. See Conn for the effect of
// a timeout.
func (c *Conn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// SetReadDeadline sets the read deadline of the connection below.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline sets the write deadline of the connection below.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }
