package wsconn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// maxGather bounds what is gathered for one write below, and with it the
// buffers in the pool.
const maxGather = 64 << 10

var gatherPool = sync.Pool{New: func() any { return new([]byte) }}

// interruption is how the last read of the connection below ended, if not
// well.
type interruption int32

const (
	uninterrupted interruption = iota
	timeoutAtBorder
	timeoutInFrame
	endAtBorder
	endInFrame
)

// stream is the connection that the WebSocket library reads and writes. It
// puts back the bytes that came behind the handshake, knows where in the
// frames a read was interrupted, and joins the pieces of one message that the
// library writes in turn.
type stream struct {
	net.Conn

	// Used by one reader at a time, which the library sees to. The library
	// asks for bytes only when it has used up all it got.
	leftover    []byte
	cursor      frameCursor
	interrupted atomic.Int32

	wmu    sync.Mutex
	expect int     // bytes of the announced frame still to come
	gather *[]byte // those that came, borrowed from the pool
	werr   error
}

func (s *stream) Read(p []byte) (n int, err error) {
	if len(s.leftover) > 0 {
		n = copy(p, s.leftover)
		if s.leftover = s.leftover[n:]; len(s.leftover) == 0 {
			s.leftover = nil
		}
	} else {
		n, err = s.Conn.Read(p)
	}
	s.cursor.advance(p[:n])
	if err != nil {
		s.interrupted.Store(int32(s.interruption(err)))
	}
	return n, err
}

func (s *stream) interruption(err error) interruption {
	border := s.cursor.atBorder()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && border:
		return timeoutAtBorder
	case errors.Is(err, os.ErrDeadlineExceeded):
		return timeoutInFrame
	case err == io.EOF && border:
		return endAtBorder
	case err == io.EOF:
		return endInFrame
	}
	return uninterrupted
}

// announce says that a frame of length bytes comes next, in pieces. They go
// out together with the last one. A control frame in between is counted as
// part of it; then the pieces go out a little earlier, in their order.
func (s *stream) announce(length int) {
	s.wmu.Lock()
	s.expect = length
	s.wmu.Unlock()
}

// settle ends what announce began, whether or not the frame came.
func (s *stream) settle() {
	s.wmu.Lock()
	s.expect = 0
	s.release()
	s.wmu.Unlock()
}

func (s *stream) Write(p []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.werr != nil {
		return 0, s.werr
	}
	if s.expect > len(p) && s.gathered()+len(p) <= maxGather {
		s.expect -= len(p)
		if s.gather == nil {
			s.gather = gatherPool.Get().(*[]byte)
		}
		*s.gather = append(*s.gather, p...)
		return len(p), nil
	}
	s.expect = max(0, s.expect-len(p))
	if err := s.writeOut(p); err != nil {
		s.werr = err
		return 0, err
	}
	return len(p), nil
}

// writeOut writes what was gathered and p, at once where that is possible.
func (s *stream) writeOut(p []byte) error {
	defer s.release()
	switch n := s.gathered(); {
	case n == 0:
		_, err := s.Conn.Write(p)
		return err
	case n+len(p) <= maxGather:
		*s.gather = append(*s.gather, p...)
		_, err := s.Conn.Write(*s.gather)
		return err
	default:
		both := net.Buffers{*s.gather, p}
		_, err := both.WriteTo(s.Conn)
		return err
	}
}

func (s *stream) gathered() int {
	if s.gather == nil {
		return 0
	}
	return len(*s.gather)
}

func (s *stream) release() {
	if s.gather != nil {
		*s.gather = (*s.gather)[:0]
		gatherPool.Put(s.gather)
		s.gather = nil
	}
}

// writeError is the first failure to write below.
func (s *stream) writeError() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return s.werr
}
