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

// Reader reads one direction of a connection. It is not safe for concurrent
// use. The zero value wants a Reset.
//
// Where the bytes come straight from a socket it waits for them without any
// buffer: the read is tried with a borrowed one, which goes back before the
// goroutine is parked. Where there is a layer between, TLS or WebSocket, it
// waits with the smallest buffer and takes larger ones as they are filled. In
// both cases a peer that sends little costs little.
type Reader struct {
	conn   net.Conn
	cipher Decrypter       // conn, if that is what it is
	raw    syscall.RawConn // of the socket below, nil if there is a layer between

	buf        *bufpool.Buffer
	start, end int // unread bytes of buf
	room       int // how much the next read asks for

	// What readSocket leaves for readRaw, which cannot return it.
	n   int
	err error
	// tryRead and readRaw as func values, made once: a method value costs an
	// allocation each time.
	try    func(fd uintptr) bool
	rawRun func() ([]byte, error)
}

// Reset makes s read from conn, and keeps what it has read before.
func (s *Reader) Reset(conn net.Conn) {
	s.conn = conn
	s.cipher, _ = conn.(Decrypter)
	if s.cipher != nil {
		conn = s.cipher.NetConn()
	}
	s.raw = rawConn(conn)
	if s.raw != nil {
		s.room, s.try, s.rawRun = bulk, s.tryRead, s.readRaw
	}
}

// Bytes returns what has been read and not consumed. It is good until Fill.
func (s *Reader) Bytes() []byte {
	if s.buf == nil {
		return nil
	}
	return s.buf.B[s.start:s.end]
}

// Consume drops the first n of those bytes. Their memory stays as it is until
// the next Fill.
func (s *Reader) Consume(n int) { s.start += n }

// Take removes all of them and returns a copy.
func (s *Reader) Take() []byte {
	b := append([]byte(nil), s.Bytes()...)
	s.Release()
	return b
}

// Release gives the buffer back, and with it whatever is unread.
func (s *Reader) Release() {
	bufpool.Put(s.buf)
	s.buf, s.start, s.end = nil, 0, 0
}

// Fill reads at least one byte more. io.EOF means that the stream ended
// before anything unread, io.ErrUnexpectedEOF that it ended behind it.
func (s *Reader) Fill() error {
	if s.start == s.end {
		s.Release()
	}
	var err error
	switch {
	case s.raw != nil && s.cipher != nil:
		_, err = s.cipher.ReadFunc(s.rawRun)
	case s.raw != nil:
		_, err = s.readRaw()
	default:
		err = s.read()
	}
	if err == nil {
		return nil
	}
	if s.start == s.end {
		s.Release()
	} else if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// read is for layered connections.
func (s *Reader) read() error {
	if s.buf == nil {
		s.room = bufpool.Min
	}
	s.reserve(s.room)
	space := s.buf.B[s.end:min(len(s.buf.B), s.end+s.room)]
	for range maxEmptyReads {
		n, err := s.conn.Read(space)
		s.end += n
		if n == len(space) {
			s.room = min(2*s.room, bulk)
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
func (s *Reader) readRaw() ([]byte, error) {
	s.n, s.err = 0, nil
	if err := s.raw.Read(s.try); err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.err
	}
	return s.buf.B[s.end-s.n : s.end], nil
}

// tryRead is called once before and once after the wait for readiness.
func (s *Reader) tryRead(fd uintptr) (done bool) {
	s.reserve(s.room)
	s.n, s.err = readSocket(fd, s.buf.B[s.end:])
	if errors.Is(s.err, errWouldBlock) {
		s.err = nil
		s.shrink()
		return false
	}
	s.end += s.n
	return true
}

// reserve makes room for n bytes more, or nearly: it moves what is unread to
// the front, into a larger buffer if it must.
func (s *Reader) reserve(n int) {
	unread := s.end - s.start
	switch {
	case s.buf == nil:
		s.buf = bufpool.Get(n)
		return
	case len(s.buf.B)-s.end >= n/2:
		return
	case len(s.buf.B)-unread >= n/2 && s.start > 0:
		copy(s.buf.B, s.buf.B[s.start:s.end])
	default:
		if s.move(bufpool.Get(unread + n)); s.raw != nil {
			s.room = min(len(s.buf.B), maxBulk) // the next packet may be as long
		}
		return
	}
	s.start, s.end = 0, unread
}

// shrink gives the buffer up, or takes the smallest that holds what is unread.
func (s *Reader) shrink() {
	unread := s.end - s.start
	switch {
	case unread == 0:
		s.Release()
	case 2*unread <= len(s.buf.B) && len(s.buf.B) > bufpool.Min:
		s.move(bufpool.Get(unread))
	}
}

func (s *Reader) move(b *bufpool.Buffer) {
	n := copy(b.B, s.Bytes())
	bufpool.Put(s.buf)
	s.buf, s.start, s.end = b, 0, n
}

// rawConn returns the socket of a connection that is nothing but one.
func rawConn(conn net.Conn) syscall.RawConn {
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
