package faketls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
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
	info          Info                        // set before handshakeDone

	in  recordReader
	out recordWriter
}

// NewConn returns the role end of a connection over conn whose hellos have
// been exchanged already, by a caller who used [ParseClientHello] and
// [AppendServerHello], for one. conn must begin with what followed the peer's
// hello or flight.
func NewConn(conn net.Conn, role Role) *Conn {
	c := &Conn{conn: conn}
	if role == RoleClient {
		c.in.deframer.From = RoleServer
		c.out.limit, c.out.preface = writeFromClient, changeCipherSpec
	} else {
		c.in.deframer.From = RoleClient
		c.out.limit = writeFromServer
	}
	c.handshakeDone.Store(true)
	return c
}

// newConn is NewConn for a connection that has yet to shake hands.
func newConn(conn net.Conn, role Role) *Conn {
	c := NewConn(conn, role)
	c.handshakeDone.Store(false)
	return c
}

// Handshake exchanges the hellos unless that has been done. The first Read or
// Write calls it with context.Background.
//
// When ctx ends first, Handshake returns an error that wraps ctx.Err(), and the
// deadlines of the connection below are cleared. A connection below stays
// open in any case. The outcome is final, be it a timeout: later calls return
// the same. Only a ctx that has ended beforehand changes nothing.
//
// A server that refuses the client returns a *RejectError. A client returns
// ErrNoMatch if the server does not know the key, a *RecordError if it sent an
// alert or something else out of place, io.ErrUnexpectedEOF if it hung up.
func (c *Conn) Handshake(ctx context.Context) error {
	if c.handshakeDone.Load() {
		return c.handshakeErr
	}
	c.handshakeMu.Lock()
	defer c.handshakeMu.Unlock()
	if c.handshakeDone.Load() {
		return c.handshakeErr
	}
	if c.shake != nil {
		if err := ctx.Err(); err != nil {
			return err // nothing has been sent, nothing is lost
		}
		c.handshakeErr = c.shake(ctx)
		c.shake = nil
	}
	c.handshakeDone.Store(true)
	return c.handshakeErr
}

// Info returns what a server's handshake found out about the client. It is
// zero on a client, before the handshake, and on a Conn from NewConn.
func (c *Conn) Info() Info {
	if !c.handshakeDone.Load() {
		return Info{}
	}
	return c.info
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

// ReadsAhead says whether Read may have something to say although the
// connection below has nothing to read: hellos to exchange, or an error that
// came behind the last bytes. Otherwise c has taken nothing that it has not
// delivered, and a caller can wait for the connection below. See package
// readbuf for who does.
func (c *Conn) ReadsAhead() bool {
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
// only sign of an end that the stream has. It is errors.ErrUnsupported if the
// connection below has no such method.
func (c *Conn) CloseWrite() error {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("faketls: half-close of a %T: %w", c.conn, errors.ErrUnsupported)
	}
	return half.CloseWrite()
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

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// recordReader is the receiving direction.
type recordReader struct {
	mu       sync.Mutex
	deframer Deframer
	header   [RecordHeaderLen]byte // where a header goes that p is too small for
	err      error                 // the first that is not a timeout
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
		case err != nil && !isTimeout(err):
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
		headers := (len(batch) + w.limit - 1) / w.limit * RecordHeaderLen
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
	case !isTimeout(err):
		w.err = err
	case k > 0:
		// Not a timeout any more: there is nothing left to wait for.
		w.err = fmt.Errorf("faketls: an earlier Write stopped inside a record: %v", err)
	}
}

// bodyBytes is how many of the first k bytes of a batch are bodies.
func (w *recordWriter) bodyBytes(k int) (n int) {
	for k -= len(w.preface) + RecordHeaderLen; k > 0; k -= w.limit + RecordHeaderLen {
		n += min(k, w.limit)
	}
	return n
}
