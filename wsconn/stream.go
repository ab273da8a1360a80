//go:build !js

package wsconn

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/mtwire/mtwire/internal/netx"
)

// maxGather limits the bytes that are gathered for one write to the connection
// below, and thereby the size of pooled buffers.
const maxGather = 64 << 10

var gatherPool = sync.Pool{New: func() any { return new([]byte) }}

// readEnd is the way in which reads of the connection below ended: with a timeout
// or EOF, between two frames or inside one.
type readEnd int32

const (
	otherEnd readEnd = iota // not yet, or with another error
	timeoutAtBoundary
	timeoutInFrame
	eofAtBoundary
	eofInFrame
)

// stream is the connection below, as the WebSocket library reads and writes it.
// It first returns the bytes that were received with the handshake, tracks frame
// boundaries for readEnd, and gathers the parts of a frame, which the library
// writes separately, into one write.
type stream struct {
	net.Conn
	masked bool // written frames are masked; client only

	// dialing makes Read return io.EOF: of a response that is no upgrade the library
	// reads more, for up to three seconds.
	dialing bool

	// Used by one reader at a time, which the library ensures. The library reads
	// only when it has processed all bytes from before.
	leftover []byte
	cursor   frameCursor
	heard    atomic.Bool  // bytes were read since keepAliveTick looked
	readEnd  atomic.Int32 // a readEnd

	wmu       netx.Mutex // whose holder may be blocked by the peer
	inFrame   bool       // between beginFrame and endFrame
	begun     bool       // the current frame has had a Write
	missing   int        // bytes of the current frame still to be gathered
	gather    *[]byte    // those gathered, borrowed from the pool
	closeSent bool
	werr      error

	controls controls
}

func (s *stream) Read(p []byte) (n int, err error) {
	if s.dialing {
		return 0, io.EOF
	}
	if len(s.leftover) > 0 {
		n = copy(p, s.leftover)
		if s.leftover = s.leftover[n:]; len(s.leftover) == 0 {
			s.leftover = nil
		}
	} else {
		n, err = s.Conn.Read(p)
	}
	s.cursor.advance(p[:n])
	if n > 0 {
		s.heard.Store(true)
	}
	if err != nil {
		s.readEnd.Store(int32(s.endOf(err)))
	}
	return n, err
}

func (s *stream) endOf(err error) readEnd {
	boundary := s.cursor.atBoundary()
	switch {
	case netx.IsTimeout(err) && boundary:
		return timeoutAtBoundary
	case netx.IsTimeout(err):
		return timeoutInFrame
	case err == io.EOF && boundary:
		return eofAtBoundary
	case err == io.EOF:
		return eofInFrame
	}
	return otherEnd
}

func (s *stream) lockWrites() { _ = s.wmu.Lock(context.Background()) }

// beginFrame gathers the parts of the following data frame, of length bytes in all,
// until its last byte.
func (s *stream) beginFrame(length int) {
	s.lockWrites()
	s.inFrame, s.begun, s.missing = true, false, length
	s.wmu.Unlock()
}

// endFrame ends gathering, drops the bytes of an incomplete frame, and writes the
// control frames that waited for the frame's end.
func (s *stream) endFrame() {
	s.lockWrites()
	s.inFrame, s.missing = false, 0
	s.release()
	s.writeControls()
	s.wmu.Unlock()
}

func (s *stream) Write(p []byte) (int, error) {
	s.lockWrites()
	defer s.wmu.Unlock()
	if s.werr != nil {
		return 0, s.werr
	}
	if !s.inFrame || !s.begun {
		s.begun = true
		if isCloseFrame(p) {
			// The library writes it with one Write, and no data frame after it.
			s.closeSent, s.missing = true, 0
		}
	}
	if s.missing > len(p) && s.gathered()+len(p) <= maxGather {
		s.missing -= len(p)
		if s.gather == nil {
			s.gather = gatherPool.Get().(*[]byte)
		}
		*s.gather = append(*s.gather, p...)
		return len(p), nil
	}
	s.missing = max(0, s.missing-len(p))
	if err := s.writeOut(p); err != nil {
		s.werr = err
		return 0, err
	}
	return len(p), nil
}

// writeOut writes the gathered bytes and p, if possible with one write.
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

// writeError returns the first error of a write to the connection below.
func (s *stream) writeError() error {
	s.lockWrites()
	defer s.wmu.Unlock()
	return s.werr
}
