// Package readbuf reads connections into buffers that are held only while there
// is something in them.
package readbuf

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/mtwire/mtwire/internal/bufpool"
)

const (
	// bulk is how much one read asks for when bytes are known to be there.
	bulk = 64 << 10
	// maxBulk is the most it asks for after packets that needed more.
	maxBulk = 256 << 10
	// maxEmptyReads is how often a connection may return neither bytes nor an
	// error before it is taken for broken.
	maxEmptyReads = 100
)

// Decrypter is a connection that can decrypt what was read from the one below
// it: *obfuscation.Conn.
type Decrypter interface {
	NetConn() net.Conn
	ReadFunc(read func() ([]byte, error)) ([]byte, error)
}

// Passer is a layer that can say whether it may have something to deliver, or
// to do, while the connection below it has nothing: *faketls.Conn. TLS and
// WebSocket read ahead, and do not say.
type Passer interface {
	NetConn() net.Conn
	ReadsAhead() bool
}

// Reader reads one direction of a connection. It is not safe for concurrent
// use. The zero value wants a Reset.
//
// It waits for bytes in one of three ways:
//
//   - Where they come straight from a socket, the read is tried with a borrowed
//     buffer, which goes back before the goroutine is parked.
//   - Where a layer that does not read ahead is between, it waits for the
//     socket to become readable and borrows a buffer then.
//   - Above any other connection it waits with the smallest buffer, and
//     continues with a larger one if that was filled.
//
// In all three a peer that sends little costs little.
type Reader struct {
	conn   net.Conn
	cipher Decrypter       // conn, if that is what it is
	passer Passer          // the layer above raw, if it is not direct
	raw    syscall.RawConn // of the socket below, nil if it does not help
	direct bool            // nothing but cipher is between conn and the socket

	buf        *bufpool.Buffer
	start, end int // unread bytes of buf
	room       int // how much the next read asks for

	// What tryRead leaves for readRaw, which cannot return it.
	n   int
	err error
	// Methods as func values, made once: a method value costs an allocation
	// each time.
	try     func(fd uintptr) bool
	read    func() ([]byte, error)
	waiting waiter
}

// Reset makes r read from conn, and keeps what it has read before.
func (r *Reader) Reset(conn net.Conn) {
	r.conn, r.room = conn, bufpool.Min
	if r.cipher, _ = conn.(Decrypter); r.cipher != nil {
		conn = r.cipher.NetConn()
	}
	if r.raw = RawConn(conn); r.raw != nil {
		r.direct, r.room = true, bulk
		r.try, r.read = r.tryRead, r.readRaw
		return
	}
	r.direct = false
	if r.passer, _ = conn.(Passer); r.passer != nil {
		if r.raw = RawConn(r.passer.NetConn()); r.raw != nil {
			r.try = r.waiting.ready
		}
	}
}

// Preload makes b, which is copied, the first bytes of a Reader that has read
// nothing yet.
func (r *Reader) Preload(b []byte) {
	if len(b) > 0 {
		r.buf = bufpool.Get(len(b))
		r.start, r.end = 0, copy(r.buf.B, b)
	}
}

// Bytes returns what has been read and not consumed. It is good until Fill.
func (r *Reader) Bytes() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf.B[r.start:r.end]
}

// Consume drops the first n of those bytes. Their memory stays as it is until
// the next Fill.
func (r *Reader) Consume(n int) { r.start += n }

// Take removes all of them and returns a copy.
func (r *Reader) Take() []byte {
	b := append([]byte(nil), r.Bytes()...)
	r.Release()
	return b
}

// Release gives the buffer back, and with it whatever is unread.
func (r *Reader) Release() {
	bufpool.Put(r.buf)
	r.buf, r.start, r.end = nil, 0, 0
}

// Fill reads at least one byte more. io.EOF means that the stream ended
// before anything unread, io.ErrUnexpectedEOF that it ended behind it.
func (r *Reader) Fill() error {
	if r.start == r.end {
		r.Release()
	}
	var err error
	switch {
	case r.direct && r.cipher != nil:
		_, err = r.cipher.ReadFunc(r.read)
	case r.direct:
		_, err = r.readRaw()
	default:
		err = r.readLayer()
	}
	if err == nil {
		return nil
	}
	if r.start == r.end {
		r.Release()
	} else if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readLayer reads from a connection that is not simply a socket.
func (r *Reader) readLayer() error {
	room := r.room
	if r.buf == nil {
		if r.raw == nil || r.passer.ReadsAhead() {
			room = bufpool.Min
		} else if err := r.raw.Read(r.try); err != nil {
			return err
		}
	}
	r.reserve(room)
	space := r.buf.B[r.end:min(len(r.buf.B), r.end+room)]
	for range maxEmptyReads {
		n, err := r.conn.Read(space)
		r.end += n
		switch {
		case 2*n > len(space):
			r.room = min(max(r.room, 2*len(space)), bulk)
		case 8*n < len(space):
			r.room = bufpool.Min
		}
		if n > 0 {
			return nil // an error will come again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// readRaw reads from the socket. Its bytes are at the end of buf.
func (r *Reader) readRaw() ([]byte, error) {
	r.n, r.err = 0, nil
	if err := r.raw.Read(r.try); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.buf.B[r.end-r.n : r.end], nil
}

// tryRead is called once before and once after the wait for readiness.
func (r *Reader) tryRead(fd uintptr) (done bool) {
	r.reserve(r.room)
	r.n, r.err = readSocket(fd, r.buf.B[r.end:])
	if errors.Is(r.err, errWouldBlock) {
		r.err = nil
		r.shrink()
		return false
	}
	r.end += r.n
	return true
}

// reserve makes room for n bytes more, or nearly: it moves what is unread to
// the front, into a larger buffer if it must. That one has twice the size at
// least, so that a long packet is not moved again and again.
func (r *Reader) reserve(n int) {
	unread := r.end - r.start
	switch {
	case r.buf == nil:
		r.buf = bufpool.Get(n)
		return
	case len(r.buf.B)-r.end >= n/2:
		return
	case len(r.buf.B)-unread >= n/2 && r.start > 0:
		copy(r.buf.B, r.buf.B[r.start:r.end])
	default:
		if r.move(bufpool.Get(unread + max(n, unread))); r.direct {
			r.room = min(len(r.buf.B), maxBulk) // the next packet may be as long
		}
		return
	}
	r.start, r.end = 0, unread
}

// shrink gives the buffer up, or takes the smallest that holds what is unread.
func (r *Reader) shrink() {
	unread := r.end - r.start
	switch {
	case unread == 0:
		r.Release()
	case 2*unread <= len(r.buf.B) && len(r.buf.B) > bufpool.Min:
		r.move(bufpool.Get(unread))
	}
}

func (r *Reader) move(b *bufpool.Buffer) {
	n := copy(b.B, r.Bytes())
	bufpool.Put(r.buf)
	r.buf, r.start, r.end = b, 0, n
}

// RawConn returns the socket of a connection that is nothing but one, and nil
// for any other, and where sockets cannot be read directly.
func RawConn(conn net.Conn) syscall.RawConn {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		if !canReadSocket {
			return nil
		}
		if raw, err := conn.(syscall.Conn).SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}
