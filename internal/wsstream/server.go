package wsstream

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
)

// More statuses of close frames.
const (
	statusUnsupported     = 1003
	statusNone            = 1005 // of a close frame without a status, never sent
	StatusPolicyViolation = 1008
	statusTooBig          = 1009
	StatusNormal          = statusNormal
)

const (
	// controlTime limits the time in which a control frame is written.
	controlTime = 5 * time.Second
	// endTime limits how long End waits for the peer's close frame.
	endTime = 5 * time.Second
	// readSize is the length of the buffer for what has come. TLS returns a record at most.
	readSize = 16 << 10
)

// Server is the server's side of a WebSocket whose messages are binary. One goroutine at a
// time may call Receive and End, and one Send; all other methods may be called concurrently.
type Server struct {
	conn net.Conn
	// OnClose, if it is not nil, is called after CloseNow, or a write that failed, has closed
	// the connection. It is set before anything is sent, and must not block.
	OnClose func()

	// Used by Receive.
	early  []byte // received with the request
	frames messages
	broken bool     // what follows cannot be understood, or nothing does
	small  [32]byte // is read into while nothing has come

	wmu      netx.Mutex // held by a write
	writeErr error

	// Control frames that wait to be written. What holds wmu writes them before it unlocks
	// wmu, so that a Receive does not wait for a Send.
	cmu       sync.Mutex
	pong      []byte // payload, nil if there is none
	ping      bool
	closing   []byte // payload, nil if there is none
	closeSent bool
	pings     uint32 // that were sent
	unheard   bool   // no answer to the last one, and no bytes of messages, have come since
}

// NewServer returns a WebSocket on conn, which it owns, for a peer that has sent the bytes of
// early already. Messages have max bytes at most.
func NewServer(conn net.Conn, early []byte, max int) *Server {
	return &Server{conn: conn, early: early, frames: messages{frameReader: frameReader{fromClient: true}, max: max}}
}

// NetConn returns the connection below.
func (s *Server) NetConn() net.Conn { return s.conn }

// Receive reads once, and calls handle with each message that is whole then, which is valid
// during the call. It returns how many bytes of messages have come. Without ready it waits
// between messages without a buffer; with ready there should be something to read.
//
// A deadline may end it anywhere, and the next call goes on. All other errors are final:
// *CloseError, ErrFrame, ErrText, ErrTooLong, handle's, and those of the connection. The caller
// calls End after them.
func (s *Server) Receive(ready bool, handle func(message []byte) error) (n int, err error) {
	var read []byte
	if read = s.early; read != nil {
		s.early = nil
	} else {
		b := s.frames.space()
		if b == nil && !ready && !s.frames.partial() {
			b = s.small[:]
		} else if b == nil {
			buffer := bufpool.Get(readSize)
			defer bufpool.Put(buffer)
			b = buffer.B
		}
		var got int
		got, err = s.conn.Read(b)
		read = b[:got]
	}
	n, bad := s.frames.feed(read, handle, s.control)
	if n > 0 {
		s.cmu.Lock()
		s.unheard = false // a pong may be behind all that the peer has to send
		s.cmu.Unlock()
	}
	if bad == nil {
		return n, err
	}
	switch {
	case bad == ErrText:
		s.Close(statusUnsupported)
	case errors.Is(bad, ErrFrame):
		s.broken = true
		s.Close(statusProtocol)
	case bad == ErrTooLong:
		s.broken = true
		s.Close(statusTooBig)
	}
	return n, bad
}

// Partial reports whether a part of a message has come, and its end has not.
func (s *Server) Partial() bool { return s.frames.partial() }

// SetReadDeadline sets the deadline of Receive.
func (s *Server) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// control handles a control frame of the peer.
func (s *Server) control(opcode byte, payload []byte) error {
	switch opcode {
	case opPing:
		// A pong takes the place of one that was not written yet.
		// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3
		s.queue(func() { s.pong = payload })
	case opPong:
		s.cmu.Lock()
		defer s.cmu.Unlock()
		if len(payload) == 4 && binary.BigEndian.Uint32(payload) == s.pings {
			s.unheard = false
		}
	case opClose:
		closed := &CloseError{Status: statusNone}
		if len(payload) > 0 {
			if !isCloseFrame(payload) {
				return badFrame("a close frame without a valid status")
			}
			closed.Status, closed.Reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		s.broken = true
		s.queue(func() { s.startClose(payload) })
		return closed
	}
	return nil
}

// isCloseFrame reports whether the payload of a close frame begins with a status that may be
// sent.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-7.4
func isCloseFrame(payload []byte) bool {
	if len(payload) < 2 {
		return false
	}
	switch status := binary.BigEndian.Uint16(payload); status {
	case 1004, statusNone, 1006:
		return false
	default:
		return 1000 <= status && status <= 1014 || 3000 <= status && status <= 4999
	}
}

// startClose has a close frame written, the last frame. Under cmu.
func (s *Server) startClose(payload []byte) {
	if s.closing == nil {
		s.closing = append([]byte{}, payload...)
	}
}

// Send sends a message, within a time. All errors are final.
func (s *Server) Send(message []byte, limit time.Duration) error {
	s.wmu.Lock(context.Background())
	defer s.unlockWrite()
	s.cmu.Lock()
	closing := s.closing != nil
	s.cmu.Unlock()
	switch {
	case s.writeErr != nil:
		return s.writeErr
	case closing:
		return errClosedByPeer
	}
	s.writeErr = s.writeWithin(limit, opBinary, message)
	return s.writeErr
}

// writeWithin writes a frame within a time. It leaves no deadline behind: TLS may write later
// on its own account, an answer to the peer's update of its keys, and fails for good if it
// cannot. Under wmu.
func (s *Server) writeWithin(limit time.Duration, opcode byte, payload []byte) error {
	s.conn.SetWriteDeadline(time.Now().Add(limit))
	err := s.write(opcode, payload)
	s.conn.SetWriteDeadline(time.Time{})
	return err
}

// write writes a frame: its header and the first bytes of the payload together, as long as a
// record of TLS, and then the others. Under wmu.
func (s *Server) write(opcode byte, payload []byte) error {
	b := bufpool.Get(min(maxHeader+len(payload), readSize))
	defer bufpool.Put(b)
	first := appendHeader(b.B[:0], opcode, 0, len(payload))
	n := min(len(payload), readSize-len(first))
	if _, err := s.conn.Write(append(first, payload[:n]...)); err != nil || n == len(payload) {
		return err
	}
	_, err := s.conn.Write(payload[n:])
	return err
}

// queue has control frames written by what writes now, or else writes them. add is called
// under cmu.
func (s *Server) queue(add func()) {
	s.cmu.Lock()
	add()
	s.cmu.Unlock()
	if s.wmu.TryLock() {
		s.unlockWrite()
	}
}

// unlockWrite writes the control frames that wait, and unlocks wmu. If it cannot, it closes
// the connection, which ends Receive.
func (s *Server) unlockWrite() {
	for {
		s.cmu.Lock()
		opcode, payload := s.nextControl()
		if s.writeErr != nil || opcode == 0 {
			s.wmu.Unlock()
			s.cmu.Unlock()
			return
		}
		s.cmu.Unlock()
		if s.writeErr = s.writeWithin(controlTime, opcode, payload); s.writeErr != nil {
			s.CloseNow()
		}
	}
}

// nextControl takes a control frame to be written, or returns 0. Under cmu.
func (s *Server) nextControl() (opcode byte, payload []byte) {
	switch {
	case s.closeSent:
		return 0, nil
	case s.pong != nil:
		payload, s.pong = s.pong, nil
		return opPong, payload
	case s.ping:
		s.ping = false
		return opPing, binary.BigEndian.AppendUint32(nil, s.pings)
	case s.closing != nil:
		s.closeSent = true
		return opClose, s.closing
	}
	return 0, nil
}

// Ping sends a ping. It reports false if the one before was not answered, and no bytes of
// messages have come since then, or if the WebSocket ends.
func (s *Server) Ping() bool {
	alive := false
	s.queue(func() {
		if alive = !s.unheard && s.closing == nil; alive {
			s.pings++
			s.ping, s.unheard = true, true
		}
	})
	return alive
}

// Close sends a close frame behind what is being sent. It does not wait for the peer, which
// Receive, or End, hears.
func (s *Server) Close(status uint16) {
	s.queue(func() { s.startClose(binary.BigEndian.AppendUint16(nil, status)) })
}

// Closing reports whether a close frame was sent, or is about to be.
func (s *Server) Closing() bool {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	return s.closing != nil
}

// End closes the connection. If a close frame was sent, or is about to be, it waits up to five
// seconds until it is written and the peer's has come.
func (s *Server) End() {
	defer s.frames.release()
	defer s.conn.Close()
	if !s.Closing() {
		return
	}
	limit := time.Now().Add(endTime)
	s.conn.SetReadDeadline(limit)
	s.frames.discard = true
	for !s.broken {
		if _, err := s.Receive(false, nil); err != nil {
			return
		}
	}
	s.conn.SetWriteDeadline(limit) // of a Send whose peer does not read
	s.wmu.Lock(context.Background())
	s.unlockWrite()
}

// CloseNow closes the connection.
func (s *Server) CloseNow() {
	s.conn.Close()
	if s.OnClose != nil {
		s.OnClose()
	}
}
