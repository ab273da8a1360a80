package webproxy

import (
	"errors"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/wsstream"
)

// messageStep is how many bytes of a message have 30 seconds to arrive, like those of a body:
// its memory is not charged before it is whole.
const messageStep = 256 << 10

// closeTime limits the time between the two close frames of a socket.
const closeTime = 5 * time.Second

var errStopped = errors.New("a message that began does not go on")

// serverSocket moves a lane's batches over a WebSocket at a relay.
type serverSocket struct {
	socket
	session *session
	conn    *wsstream.Server
	done    func() // called at the end
	first   bool   // the lane's first message, which has OPEN, has not come

	limit    time.Time // of the message that is arriving; zero if there is none
	arrived  int       // bytes of it, since limit was set
	deadline time.Time // that conn has
}

func newServerSocket(s *session, l *lane, conn *wsstream.Server, done func()) *serverSocket {
	socket := &serverSocket{socket: socket{mux: s.mux, lane: l}, session: s, conn: conn, done: done, first: l.id != SharedLane}
	socket.ws = socket
	return socket
}

// run moves batches until the socket ends.
func (s *serverSocket) run() {
	if s.first {
		s.limit = time.Now().Add(ioTime)
	} else {
		s.start()
	}
	s.end(s.read())
}

// end ends what the socket has carried.
func (s *serverSocket) end(err error) {
	s.conn.End()
	if s.writer != nil && s.stop() {
		err = nil
	}
	s.session.detach(s.lane, err)
	s.done()
}

// read receives messages until the socket ends.
func (s *serverSocket) read() error {
	for {
		s.setDeadline()
		n, err := s.conn.Receive(false, s.receive)
		if n > 0 {
			s.mux.moved.Add(1)
		}
		if err != nil && !netx.IsTimeout(err) {
			return s.cause(err)
		}
		switch now := time.Now(); {
		case !s.first && !s.conn.Partial():
			s.limit = time.Time{}
		case s.limit.IsZero(), s.arrived+n >= messageStep:
			s.limit, s.arrived = now.Add(ioTime), 0
		case !now.Before(s.limit):
			return errStopped
		default:
			s.arrived += n
		}
	}
}

// setDeadline has the next read end at the message's limit. To set a deadline takes time:
// one that is too early stays, and its read is repeated.
func (s *serverSocket) setDeadline() {
	switch {
	case s.limit.IsZero() && s.deadline.IsZero():
		return
	case s.deadline.After(time.Now()) && (s.limit.IsZero() || !s.deadline.After(s.limit)):
		return
	}
	s.deadline = s.limit
	s.conn.SetReadDeadline(s.limit)
}

// cause returns the error of a socket whose read has ended with err.
func (s *serverSocket) cause(err error) error {
	switch {
	case err == wsstream.ErrText && s.first:
		return violation("a lane that does not begin with OPEN")
	case err == wsstream.ErrText:
		return violation("a text message")
	}
	return err
}

// receive applies a message.
func (s *serverSocket) receive(message []byte) error {
	s.limit = time.Time{} // the next one has a limit of its own
	if s.first {
		if f, _, err := ParseFrame(message); err != nil || f.Type != OpenFrame {
			s.conn.Close(wsstream.StatusPolicyViolation)
			return violation("a lane that does not begin with OPEN")
		}
		s.first = false
		defer s.start()
	}
	if !s.session.waitForRoom(len(message)) {
		return errors.New("the streams' bytes are not read")
	}
	defer s.mux.unreserve(len(message))
	err := s.mux.receive(s.lane.id, message, false)
	if errors.Is(err, ErrProtocol) {
		s.conn.Close(wsstream.StatusPolicyViolation)
	}
	return err
}

func (s *serverSocket) send(message []byte) error { return s.conn.Send(message, ioTime) }

func (s *serverSocket) ping() bool {
	if s.conn.Ping() {
		return true
	}
	s.conn.CloseNow()
	return false
}

// finish sends a close frame. If the peer does not answer, the pinger ends the socket.
func (s *serverSocket) finish() {
	s.conn.Close(wsstream.StatusNormal)
	s.pinger.Reset(closeTime)
}

// closeNow closes the connection, unless end or the pinger is about to.
func (s *serverSocket) closeNow() {
	if !s.conn.Closing() {
		s.conn.CloseNow()
	}
}
