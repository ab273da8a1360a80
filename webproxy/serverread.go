package webproxy

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readiness"
	"github.com/mtwire/mtwire/internal/wsstream"
)

// messageStep is how many bytes of a message have 30 seconds to arrive, like those of a body:
// its memory is not charged before it is whole.
const messageStep = 64 << 10

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

	// watch is nil if a goroutine waits for what comes.
	watch  *readiness.Watch
	last   time.Time // when bytes of messages have come
	linger time.Time // until when a goroutine waits for more; zero: not at all
	state  atomic.Int32
	wake   func() // wakeNow as a func value
}

// The states of a serverSocket.
const (
	reading = iota // it has a goroutine
	woken          // and something has come since that has begun to look for it
	parked         // it has none
)

// errIdle means that nothing has come: the socket is parked.
var errIdle = errors.New("nothing has come")

// smallRecord is the length of a record of TLS whose buffer an idle socket keeps.
const smallRecord = 2 << 10

// longAgo is a deadline at which a read does not wait.
var longAgo = time.Unix(1, 0)

func newServerSocket(s *session, l *lane, conn *wsstream.Server, done func()) *serverSocket {
	socket := &serverSocket{socket: socket{mux: s.mux, lane: l}, session: s, conn: conn, done: done, first: l.id != SharedLane}
	socket.ws = socket
	socket.wake = socket.wakeNow
	conn.OnClose = socket.wake
	return socket
}

// run begins to move batches.
func (s *serverSocket) run() {
	if s.first {
		s.limit = time.Now().Add(ioTime)
	} else {
		s.start()
	}
	s.watch = s.session.server.watch(s.conn.NetConn(), s.wake)
	s.proceed()
}

// proceed receives messages until the socket ends, or is parked.
func (s *serverSocket) proceed() {
	if err := s.read(); err != errIdle {
		s.end(err)
	}
}

// wakeNow continues a socket that is parked. It is called when something has come, and when
// the connection was closed.
func (s *serverSocket) wakeNow() {
	for {
		switch {
		case s.state.CompareAndSwap(parked, reading):
			s.session.server.readers.Go(s.proceed)
			return
		case s.state.CompareAndSwap(reading, woken), s.state.Load() == woken:
			return
		}
	}
}

// park reports whether nothing has come since the goroutine has looked. It must end then.
func (s *serverSocket) park() bool {
	if over, ok := s.conn.NetConn().(*tls.Conn); ok {
		netx.ShrinkTLS(over, smallRecord)
	}
	if s.state.CompareAndSwap(reading, parked) {
		return true
	}
	s.state.Store(reading)
	return false
}

// end ends what the socket has carried.
func (s *serverSocket) end(err error) {
	if s.watch != nil {
		s.watch.Stop()
	}
	s.conn.End()
	if s.writer != nil && s.stop() {
		err = nil
	}
	s.session.detach(s.lane, err)
	s.done()
}

// read receives messages until the socket ends, or is parked.
func (s *serverSocket) read() error {
	for {
		limit, wait := s.until()
		s.setDeadline(limit)
		n, err := s.conn.Receive(s.watch != nil, s.receive)
		switch {
		case err != nil && !netx.IsTimeout(err):
			return s.cause(err)
		case err != nil && !wait && s.park():
			return errIdle
		}
		now := time.Now()
		if n > 0 {
			s.mux.moved.Add(1)
			s.noteArrival(now)
		}
		switch {
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

// until returns when the next read must end, and whether it may wait. Between messages that of
// a socket that is watched does not: once there is nothing more in its descriptor, what TLS has
// read before is received with a deadline that has passed, up to the error of that.
func (s *serverSocket) until() (limit time.Time, wait bool) {
	if s.watch == nil || s.first || s.conn.Partial() {
		return s.limit, true
	}
	if !s.linger.IsZero() {
		if s.linger.After(time.Now()) {
			return s.linger, true
		}
		s.linger = time.Time{}
	}
	if s.watch.Readable() {
		return time.Time{}, true
	}
	return longAgo, false
}

// noteArrival has the goroutine wait for what follows, if not much time has passed since
// something came before: to be parked and woken for each part would take more time.
func (s *serverSocket) noteArrival(now time.Time) {
	s.linger = time.Time{}
	if now.Sub(s.last) < lingerTime {
		s.linger = now.Add(lingerTime)
	}
	s.last = now
}

// setDeadline has the next read end at limit; zero means no limit. To set a deadline takes time:
// one that is too early stays, unless it has passed, and its read is repeated.
func (s *serverSocket) setDeadline(limit time.Time) {
	early := limit.IsZero() || !s.deadline.After(limit)
	if s.deadline == limit || early && s.deadline.After(time.Now()) {
		return
	}
	s.deadline = limit
	s.conn.SetReadDeadline(limit)
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
