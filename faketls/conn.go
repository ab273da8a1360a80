package faketls

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
)

// Conn is a byte stream in records over another connection. It is a net.Conn:
// one Read and one Write may run at the same time as each other and as
// everything else, several Reads or several Writes take turns.
//
// A Conn that waits owns no buffers beyond a record header. Each direction
// keeps its first error; a timeout is not kept, and the call may be repeated
// with a new deadline, unless it struck a Write that had already sent a part.
type Conn struct {
	conn net.Conn

	handshakeMu   sync.Mutex
	handshakeDone atomic.Bool
	handshakeErr  error
	shake         func(context.Context) error // nil once it ran

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
		c.out.limit = writeFromServer
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
// The outcome is final, even a timeout: later calls return the same. If ctx has
// ended before the handshake begins, Handshake returns ctx.Err() and later calls
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
	c.handshakeErr = c.shake(ctx)
	c.shake = nil
	c.handshakeDone.Store(true)
	return c.handshakeErr
}

// Read reads bytes of the stream, across record borders, directly into p. It
// may use all of p as scratch space.
//
// The end of input between two records is io.EOF, inside one it is
// io.ErrUnexpectedEOF; a record that does not belong is a *RecordError.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Handshake(context.Background()); err != nil {
		return 0, err
	}
	return c.in.read(c.conn, p)
}

// Write writes p in records, of at most 2878 bytes from a client and 16384
// from a server, with one Write below for up to 64 KiB. A client's first Write
// begins with its ChangeCipherSpec.
//
// n counts the bytes of p that were handed down. If a Write fails after a part
// of it was sent, all later ones fail.
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

// Deframer returns the reading direction as it stands, for who goes on with
// the connection below without c. No Read may run, or come later.
func (c *Conn) Deframer() Deframer {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.deframer
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Close closes the connection below.
func (c *Conn) Close() error { return c.conn.Close() }

// CloseWrite closes the sending half of the connection below, which is the
// only end that the stream has. The error is errors.ErrUnsupported if the
// connection below has no half-close.
func (c *Conn) CloseWrite() error { return netx.CloseWrite(c.conn) }

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
	header   [RecordHeaderLength]byte // where a header goes that p is too small for
	err      error                    // the first that is not a timeout
}

// smallRead is the size of p below which a header is read on its own. Above
// it, headers are read along with the bodies and then cut out of p, which
// saves a system call for each record and costs moving a few KiB.
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
			return n, nil // an error waits for the next call, or strikes again
		case r.err != nil:
			return 0, r.err
		case err != nil || k == 0:
			return 0, err
		}
	}
	return 0, nil
}

// recordWriter is the sending direction.
type recordWriter struct {
	mu      sync.Mutex
	limit   int    // longest body
	preface string // goes ahead of the first record
	err     error  // the first that is final
}

// writeBatch is how much of the stream goes into one Write below: it bounds
// the scratch that a peer who does not read can hold.
const writeBatch = 1 << 16

var scratchPool = sync.Pool{New: func() any { return new([]byte) }}

func (w *recordWriter) write(dst io.Writer, p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	scratch := scratchPool.Get().(*[]byte)
	defer scratchPool.Put(scratch)
	for n < len(p) {
		batch := p[n:min(len(p), n+writeBatch)]
		headers := (len(batch) + w.limit - 1) / w.limit * RecordHeaderLength
		*scratch = slices.Grow((*scratch)[:0], len(w.preface)+headers+len(batch))
		*scratch = appendRecords(append(*scratch, w.preface...), batch, w.limit)
		k, err := dst.Write(*scratch)
		if err == nil && k < len(*scratch) {
			err = io.ErrShortWrite
		}
		if err != nil {
			w.fail(k, err)
			return n + w.bodyBytes(k), err
		}
		w.preface = ""
		n += len(batch)
	}
	return n, nil
}

// fail decides whether err is final after k bytes went out.
func (w *recordWriter) fail(k int, err error) {
	switch {
	case !netx.IsTimeout(err):
		w.err = err
	case k > 0:
		// Not a timeout any more: there is nothing left to wait for.
		w.err = fmt.Errorf("faketls: an earlier Write stopped inside a record: %v", err)
	}
}

// bodyBytes is how many of the first k bytes of a batch are bodies.
func (w *recordWriter) bodyBytes(k int) (n int) {
	for k -= len(w.preface) + RecordHeaderLength; k > 0; k -= w.limit + RecordHeaderLength {
		n += min(k, w.limit)
	}
	return n
}
