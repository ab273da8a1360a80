// Package readbuf is a buffered reader for connections that borrows its buffer from
// package bufpool only while there are unread bytes.
package readbuf

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
)

const (
	// bulk is the size of a read, in bytes, once the socket is readable.
	bulk = 64 << 10
	// maxBulk is the largest size of a read, which longer packets lead to.
	maxBulk = 256 << 10
	// maxEmptyReads is the number of successive reads without bytes or an error
	// after which Fill returns io.ErrNoProgress.
	maxEmptyReads = 100
)

// decrypter is a connection that decrypts bytes that the caller reads from the
// connection below: *obfuscation.Conn.
type decrypter interface {
	NetConn() net.Conn
	ReadFunc(read func() ([]byte, error)) ([]byte, error)
}

// layer is a connection that reports whether its Read may have a result although the
// connection below is not readable: *faketls.Conn. TLS and WebSocket read ahead and
// do not report it.
type layer interface {
	NetConn() net.Conn
	HasPending() bool
}

// Reader is the buffered reading direction of a connection. It is not safe for
// concurrent use. The zero value needs a Reset.
//
// It waits for bytes in one of three ways:
//
//   - On a socket, or an obfuscation layer over one, it tries to read into a borrowed
//     buffer and returns the buffer before the goroutine blocks.
//   - On a layer that does not read ahead it waits until the socket below is
//     readable, and then borrows a buffer.
//   - On any other connection it blocks with the smallest buffer. If a read fills
//     that buffer, the next one uses a larger one.
//
// In all three, memory is in proportion to the bytes that the peer sends.
type Reader struct {
	// Max is the largest useful size of the buffer, in bytes, for instance that of
	// the longest packet. A buffer that grows stops there, unless a read needs
	// more. 0 means no limit.
	Max int

	// Most is the maximum number of bytes that one read takes, 0 for no limit.
	Most int

	// Grow is called before unread bytes are moved to a buffer of size bytes. An
	// error ends the read, and Fill returns it. Nil allows every size.
	Grow func(size int) error

	// Read, if it is not nil, reads once from a socket, in place of read(2). It must
	// not block: it returns EAGAIN if there is nothing to read, and io.EOF at the
	// end of the stream.
	Read func(fd uintptr, p []byte) (n int, err error)

	conn   net.Conn
	cipher decrypter       // conn, or nil if it is none
	layer  layer           // between cipher and the socket, unless direct
	raw    syscall.RawConn // the socket below, nil if there is none to wait for
	direct bool            // only cipher is between conn and the socket

	buf        *bufpool.Buffer
	start, end int // the unread bytes of buf
	room       int // size of the next read

	// The results of tryRead, which RawConn.Read does not pass on to readRaw.
	n   int
	err error
	// Method values, made once because each evaluation allocates.
	try     func(fd uintptr) bool
	read    func() ([]byte, error)
	waiting waiter
}

// Reset makes r read from conn. It keeps the unread bytes.
func (r *Reader) Reset(conn net.Conn) {
	r.conn, r.room = conn, bufpool.Min
	if r.cipher, _ = conn.(decrypter); r.cipher != nil {
		conn = r.cipher.NetConn()
	}
	if r.raw = RawConn(conn); r.raw != nil {
		r.direct, r.room, r.try = true, bulk, r.tryRead
		if r.cipher != nil {
			r.read = r.readRaw
		}
		return
	}
	r.direct = false
	if r.layer, _ = conn.(layer); r.layer != nil {
		if r.raw = RawConn(r.layer.NetConn()); r.raw != nil {
			r.try = r.waiting.ready
		}
	}
}

// Prefer sets the size of the next reads from a socket, in bytes. Layers have sizes of
// their own.
func (r *Reader) Prefer(n int) {
	if r.direct {
		r.room = n
	}
}

// Size returns the size of the buffer in bytes, 0 if there is none.
func (r *Reader) Size() int {
	if r.buf == nil {
		return 0
	}
	return len(r.buf.B)
}

// Trim moves the unread bytes to a smaller buffer if the buffer is much larger than
// they are, as it is after a long packet. Without Trim a Fill may block with it.
func (r *Reader) Trim() {
	if r.Size() > 2*bulk {
		r.shrink()
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

// Bytes returns the unread bytes. They are valid until the next Fill or Release.
func (r *Reader) Bytes() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf.B[r.start:r.end]
}

// Consume drops the first n unread bytes. Their memory stays valid until the next
// Fill or Release.
func (r *Reader) Consume(n int) { r.start += n }

// Take returns a copy of the unread bytes and releases the buffer.
func (r *Reader) Take() []byte {
	b := append([]byte(nil), r.Bytes()...)
	r.Release()
	return b
}

// Release returns the buffer to the pool. Unread bytes are lost.
func (r *Reader) Release() {
	if r.buf != nil {
		bufpool.Put(r.buf)
		r.buf, r.start, r.end = nil, 0, 0
	}
}

// Fill reads at least one more byte. At the end of the stream it returns io.EOF if
// there are no unread bytes, and otherwise io.ErrUnexpectedEOF.
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

// readLayer reads from a connection that is not direct.
func (r *Reader) readLayer() error {
	room := r.room
	if r.buf == nil {
		if r.raw == nil || r.layer.HasPending() {
			room = bufpool.Min
		} else if err := r.raw.Read(r.try); err != nil {
			return err
		}
	}
	if err := r.reserve(room); err != nil {
		return err
	}
	space := r.space(r.buf.B[r.end:min(len(r.buf.B), r.end+room)])
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
			return nil // the next read returns an error again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// readRaw reads from the socket and returns the new bytes, which are the last ones
// before r.end.
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

// tryRead reads once without blocking. RawConn.Read calls it before and after it
// waits for readiness.
func (r *Reader) tryRead(fd uintptr) (done bool) {
	if r.n, r.err = 0, r.reserve(r.room); r.err != nil {
		return true
	}
	if read := r.Read; read != nil {
		r.n, r.err = read(fd, r.space(r.buf.B[r.end:]))
	} else {
		r.n, r.err = readSocket(fd, r.space(r.buf.B[r.end:]))
	}
	if errors.Is(r.err, errWouldBlock) {
		r.err = nil
		r.shrink()
		return false
	}
	r.end += r.n
	return true
}

// space returns the part of room that one read may fill.
func (r *Reader) space(room []byte) []byte {
	if r.Most > 0 {
		return room[:min(len(room), r.Most)]
	}
	return room
}

// reserve makes room for about n more bytes, at least n/2. It moves the unread bytes
// to the front or, if that is not enough, to a larger buffer. The larger one has room
// for at least as many bytes again, up to Max, so that a long packet is moved O(log n)
// times.
func (r *Reader) reserve(n int) error {
	unread := r.end - r.start
	switch {
	case r.buf == nil:
		r.buf = bufpool.Get(n)
	case len(r.buf.B)-r.end >= n/2:
	case len(r.buf.B)-unread >= n/2 && r.start > 0:
		copy(r.buf.B, r.buf.B[r.start:r.end])
		r.start, r.end = 0, unread
	default:
		size := unread + max(n, unread)
		if r.Max > 0 {
			size = min(size, max(r.Max, unread+n))
		}
		if r.Grow != nil {
			if err := r.Grow(size); err != nil {
				return err
			}
		}
		if r.move(bufpool.Get(size)); r.direct {
			r.room = min(len(r.buf.B), maxBulk) // the next packet may be as long
		}
	}
	return nil
}

// shrink releases the buffer if nothing is unread, and otherwise moves the unread
// bytes to the smallest buffer that has room for them. A buffer that reserve has just
// doubled for a long packet stays: the packet would be moved with every read.
func (r *Reader) shrink() {
	unread, slack := r.end-r.start, 2
	if r.Size() > 2*bulk {
		slack = 4
	}
	switch {
	case unread == 0:
		r.Release()
	case slack*unread <= r.Size() && r.Size() > bufpool.Min:
		r.move(bufpool.Get(unread))
	}
}

func (r *Reader) move(b *bufpool.Buffer) {
	n := copy(b.B, r.Bytes())
	bufpool.Put(r.buf)
	r.buf, r.start, r.end = b, 0, n
}

// RawConn returns the socket of a *net.TCPConn, *net.UnixConn or *netx.Socket. It returns nil for
// any other connection, and on systems other than Unix.
func RawConn(conn net.Conn) syscall.RawConn {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn, *netx.Socket:
		if !canReadSocket {
			return nil
		}
		if raw, err := conn.(syscall.Conn).SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}
