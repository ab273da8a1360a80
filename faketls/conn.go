package faketls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
)

// Conn is a byte stream in FakeTLS records over another connection. It is a net.Conn.
// Its methods may be called concurrently: Reads exclude each other, and so do Writes.
//
// A Conn that is blocked has no buffers beyond a record header. Each direction keeps
// its first error, which later calls return. A timeout is not kept, and the call can be
// repeated with a new deadline, except after a Write that has sent a part.
type Conn struct {
	conn net.Conn

	handshakeMu   sync.Mutex
	handshakeDone atomic.Bool
	handshakeErr  error
	shake         func(context.Context) error // nil when it is done

	in  recordReader
	out recordWriter
}

// NewConn returns the side end of a connection over conn on which the hellos
// have been exchanged already, with [ParseClientHello] and [AppendServerHello]
// for instance. conn begins with the bytes that follow the peer's hello or
// flight.
func NewConn(conn net.Conn, side frame.Side) *Conn {
	return NewConnFrom(conn, side, Deframer{From: 1 - side})
}

// NewConnFrom is NewConn for a connection of which a part was read already: d
// has deframed the bytes before conn's next one. d.From is the peer's side. If d
// has met a malformed record, the first Read returns that error.
func NewConnFrom(conn net.Conn, side frame.Side, d Deframer) *Conn {
	c := &Conn{conn: conn}
	c.in.deframer, c.in.err = d, d.err
	if side == frame.Client {
		c.out.limit, c.out.preface = writeFromClient, changeCipherSpec
	} else {
		c.out.limit, c.out.least = writeFromServer, leastFromServer
	}
	c.handshakeDone.Store(true)
	return c
}

// Handshake exchanges the hellos of a connection from [Client], unless that is
// done. The first Read or Write calls it with context.Background. On a
// connection from [NewConn] there is nothing to exchange and it returns nil.
//
// If ctx ends during the handshake, Handshake returns ctx.Err(). It leaves the
// connection below open in any case, and clears its deadlines if ctx can end.
// The outcome is final: later calls return the same, or after the end of ctx an error
// that is net.ErrClosed. If ctx has ended before the handshake begins, Handshake returns ctx.Err() and later calls
// begin it.
//
// The error is ErrNoMatch if the server does not have the key, a *RecordError
// if it sent an alert or another record out of place, and io.ErrUnexpectedEOF
// if it closed the connection.
func (c *Conn) Handshake(ctx context.Context) error {
	if c.handshakeDone.Load() {
		return c.handshakeErr
	}
	c.handshakeMu.Lock()
	defer c.handshakeMu.Unlock()
	if c.handshakeDone.Load() {
		return c.handshakeErr
	}
	if err := ctx.Err(); err != nil {
		return err // nothing has been sent, nothing is lost
	}
	err := c.shake(ctx)
	c.handshakeErr = err
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		c.handshakeErr = errHandshakeInterrupted
	}
	c.shake = nil
	c.handshakeDone.Store(true)
	return err
}

// errHandshakeInterrupted is the error after a handshake that its context ended. It is
// no context's error, so that a loop which retries after timeouts ends.
var errHandshakeInterrupted = fmt.Errorf("faketls: an earlier context ended inside the handshake: %w", net.ErrClosed)

// Read reads bytes of the stream, across records, directly into p. It may use all of p
// as scratch space.
//
// The end of input between two records is io.EOF, and io.ErrUnexpectedEOF inside one.
// A record out of place is a *RecordError.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Handshake(context.Background()); err != nil {
		return 0, err
	}
	return c.in.read(c.conn, p)
}

// Write writes p in records of at most 2878 bytes from a client, and 16384 from a
// server, with one Write below for each 64 KiB of p. A client's first Write starts with
// its ChangeCipherSpec.
//
// TLS 1.3 has no record shorter than 17 bytes. A server holds fewer bytes back, for up
// to 100 ms, until a Write or Close sends them with others; Write has then returned
// without an error, and a later Write returns the error of sending them.
//
// n is the number of bytes of p that were sent or held back. If a Write fails after it
// has sent a part, all later ones fail.
func (c *Conn) Write(p []byte) (n int, err error) {
	if err := c.Handshake(context.Background()); err != nil {
		return 0, err
	}
	return c.out.write(c.conn, p)
}

// HasPending reports whether Read may have a result although the connection below is
// not readable: the handshake is not done, or an error followed the last bytes. If
// HasPending is false, c has returned all bytes that it has read, and a caller can
// wait for the connection below to become readable.
func (c *Conn) HasPending() bool {
	if !c.handshakeDone.Load() {
		return true
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.err != nil
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Close closes the connection below, after it has sent what a server holds back.
func (c *Conn) Close() error {
	c.out.close(c.conn)
	return c.conn.Close()
}

// CloseWrite closes the sending half of the connection below, which is the
// only end that the stream has. The error is errors.ErrUnsupported if the
// connection below has no half-close.
func (c *Conn) CloseWrite() error {
	if err := c.out.flush(c.conn); err != nil {
		return err
	}
	return netx.CloseWrite(c.conn)
}

// LocalAddr returns the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the remote address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline sets both deadlines of the connection below.
func (c *Conn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// SetReadDeadline sets the read deadline of the connection below.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline sets the write deadline of the connection below.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }

// recordReader is the receiving direction.
type recordReader struct {
	mu       sync.Mutex
	deframer Deframer
	header   [RecordHeaderLength]byte // the buffer for a header if p is small
	err      error                    // the first error that is not a timeout
}

// smallRead is the length of p below which a header is read separately. From it on,
// headers are read into p together with the bodies and then removed, which saves a
// system call for each record and costs moving a few KiB.
const smallRead = 64

func (r *recordReader) read(src io.Reader, p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 {
		if r.err != nil {
			return 0, r.err
		}
		b := p
		if k := r.deframer.headerLeft(); k > 0 && len(p) < smallRead {
			b = r.header[:k]
		}
		k, err := src.Read(b)
		n, malformed := r.deframer.Deframe(b[:k])
		switch {
		case malformed != nil:
			r.err = malformed
		case err == io.EOF && !r.deframer.Complete():
			r.err = io.ErrUnexpectedEOF
		case err != nil && !netx.IsTimeout(err):
			r.err = err
		}
		switch {
		case n > 0:
			return n, nil // the next call returns an error
		case r.err != nil:
			return 0, r.err
		case err != nil || k == 0:
			return 0, err
		}
	}
	return 0, nil
}
