package webproxy

import (
	"errors"
	"math"
)

// Side is one of the two sides of a session.
type Side uint8

const (
	// App is the side of the Telegram client, which opens streams.
	App Side = iota + 1
	// Relay is the side of the server.
	Relay
)

// Lanes of Session.Receive other than a stream's, which is the stream's id.
const (
	// SharedLane carries the frames of all streams: the carriers https and
	// websocket.
	SharedLane = -1
	// SessionLane carries PONG up, and PING and BYE down, in https-lanes.
	SessionLane = 0
)

// maxClosed is how many ids of closed streams a session remembers.
const maxClosed = 4096

// ErrNoStreamID means that an app has used every stream id of a session.
var ErrNoStreamID = errors.New("webproxy: no stream ids left in this session")

// Session is one side's state of a session: the streams that are open, the credit
// of each, and the ids of those that are closed. It does no I/O: Receive takes the
// peer's batches, and the methods that begin with Append make frames for it, in
// the order in which they must be sent.
//
// A stream's id is used once in a session. The state of a stream is
//
//	none -> OPEN -> open -> CLOSE, of either side -> closed -> forgotten
//
// and frames of a closed stream are ignored while it is remembered: they have
// crossed the CLOSE. It remembers 4,096 ids. A frame of a stream that is not open
// and not remembered is a protocol error, and so is one for a closed stream's id
// that opens it again.
//
// The zero value is not ready: use NewSession. A Session must not be used
// concurrently.
type Session struct {
	side    Side
	greeted bool  // HELLO and WELCOME have passed
	err     error // of the shared lane: it ends the session
	streams map[uint32]*Stream
	closed  closedIDs
	nextID  uint32 // App: the id of the next stream
}

// NewSession returns the state of a new session, before HELLO and WELCOME.
func NewSession(side Side) *Session { return &Session{side: side, nextID: 1} }

// Stream is the state of an open stream. It is a part of its Session, and must not be used
// concurrently with it.
type Stream struct {
	id      uint32
	credit  uint32 // bytes that may be sent
	window  uint32 // bytes that the peer may send
	pending uint32 // bytes that were received and are not granted again
}

// ID returns the stream's id.
func (s *Stream) ID() uint32 { return s.id }

// Credit returns the number of bytes that the peer allows to be sent.
func (s *Stream) Credit() int { return int(min(s.credit, math.MaxInt32)) }

// Ungranted returns the number of bytes that were received and for which
// AppendWindow has not been called.
func (s *Stream) Ungranted() int { return int(s.pending) }

// AppendData appends a DATA frame with the first bytes of p to dst: as many as
// credit and limit allow. It returns the extended slice and the number of bytes of
// p, which is 0 if there is no credit. limit is at most MaxPayload.
func (s *Stream) AppendData(dst, p []byte, limit int) ([]byte, int) {
	n := min(len(p), s.Credit(), limit)
	if n == 0 {
		return dst, 0
	}
	s.credit -= uint32(n)
	return append(appendHeader(dst, DataFrame, s.id, n), p[:n]...), n
}

// AppendWindow appends a WINDOW frame that allows the peer to send n bytes more.
// n is at least 1 and at most Ungranted: the bytes that were delivered to the
// stream's reader.
func (s *Stream) AppendWindow(dst []byte, n int) []byte {
	if n < 1 || n > int(s.pending) {
		panic("webproxy: internal error: grant of bytes that were not received")
	}
	s.pending -= uint32(n)
	s.window += uint32(n)
	return appendWindow(dst, s.id, uint32(n))
}

// Stream returns the open stream with an id, or nil.
func (s *Session) Stream(id uint32) *Stream { return s.streams[id] }

// Len returns the number of open streams.
func (s *Session) Len() int { return len(s.streams) }

// Closed reports whether the stream with an id is closed and remembered.
func (s *Session) Closed(id uint32) bool { return s.closed.has(id) }

// AppendHello appends an app's first frame.
func AppendHello(dst []byte) []byte { return append(appendHeader(dst, HelloFrame, 0, 1), 1) }

// AppendWelcome appends a relay's answer to HELLO.
func AppendWelcome(dst []byte) []byte { return appendHeader(dst, WelcomeFrame, 0, 0) }

// AppendOpen opens a stream and appends its OPEN frame. The id must be unused;
// 0 stands for one more than the highest so far. Only an app opens streams.
func (s *Session) AppendOpen(dst []byte, id uint32) ([]byte, *Stream, error) {
	if id == 0 {
		id = s.nextID
	}
	if id > MaxStream {
		return dst, nil, ErrNoStreamID
	}
	if s.side != App || s.streams[id] != nil || s.closed.has(id) {
		panic("webproxy: internal error: stream cannot be opened")
	}
	s.nextID = max(s.nextID, id+1)
	return appendHeader(dst, OpenFrame, id, 0), s.open(id), nil
}

func (s *Session) open(id uint32) *Stream {
	if s.streams == nil {
		s.streams = make(map[uint32]*Stream)
	}
	stream := &Stream{id: id, credit: InitialWindow, window: InitialWindow}
	s.streams[id] = stream
	return stream
}

// AppendClose closes an open stream and appends its CLOSE frame. It is also a
// relay's answer to an OPEN that it refuses. A stream that is not open has no
// CLOSE: nothing is appended.
func (s *Session) AppendClose(dst []byte, id uint32) []byte {
	if s.streams[id] == nil {
		return dst
	}
	s.forget(id)
	return appendHeader(dst, CloseFrame, id, 0)
}

func (s *Session) forget(id uint32) {
	delete(s.streams, id)
	s.closed.add(id)
}

// Receive checks a batch from the peer, applies it, and appends the frames that
// concern the caller to dst: all but those of closed streams. Payloads are parts
// of batch. The first batch is a single HELLO, or WELCOME for an app.
//
// lane is SharedLane, SessionLane, or the id of the only stream that the batch may
// concern. In a stream's lane, bytes of a stream that is neither open nor
// remembered are ignored: it may be forgotten.
//
// An error wraps ErrProtocol. Then the caller must use none of the batch's frames,
// and end the stream if lane is a stream's, or else the session: all later calls
// of Receive with that lane return an error.
func (s *Session) Receive(dst []Frame, lane int, batch []byte) ([]Frame, error) {
	if s.err != nil {
		return dst, s.err
	}
	frames, err := s.receive(dst, lane, batch)
	if err != nil {
		if lane == SharedLane {
			s.err = err
		}
		return dst, err
	}
	return frames, nil
}

func (s *Session) receive(dst []Frame, lane int, batch []byte) ([]Frame, error) {
	if err := CheckBatch(batch); err != nil {
		return nil, err
	}
	if !s.greeted {
		return s.greet(dst, batch)
	}
	if lane > 0 && s.unknownLane(uint32(lane), batch) {
		return dst, nil
	}
	for f := range Frames(batch) {
		if lane != SharedLane && f.Stream != uint32(lane) {
			return nil, violation("%v of stream %d in lane %d", f.Type, f.Stream, lane)
		}
		concerns, err := s.apply(f)
		if err != nil {
			return nil, err
		}
		if concerns {
			dst = append(dst, f)
		}
	}
	return dst, nil
}

// greet applies the first batch.
func (s *Session) greet(dst []Frame, batch []byte) ([]Frame, error) {
	want := HelloFrame
	if s.side == App {
		want = WelcomeFrame
	}
	f, rest, _ := ParseFrame(batch)
	if f.Type != want || len(rest) > 0 {
		return nil, violation("a session begins with %v of %d bytes, want %v alone", f.Type, len(batch), want)
	}
	s.greeted = true
	return append(dst, f), nil
}

// unknownLane reports whether a batch is for a stream that is neither open nor
// remembered, and does not open it.
func (s *Session) unknownLane(id uint32, batch []byte) bool {
	if s.side != Relay || s.streams[id] != nil || s.closed.has(id) {
		return false
	}
	for f := range Frames(batch) {
		if f.Stream != id || f.Type != DataFrame && f.Type != WindowFrame && f.Type != CloseFrame {
			return false
		}
	}
	return true
}

// apply applies one frame and reports whether it concerns the caller.
func (s *Session) apply(f Frame) (concerns bool, err error) {
	if sender := senderOf(f.Type); sender == s.side {
		return false, violation("%v, which only this side sends", f.Type)
	}
	switch f.Type {
	case HelloFrame, WelcomeFrame:
		return false, violation("%v, which begins a session, inside it", f.Type)
	case PingFrame, PongFrame, ByeFrame:
		return true, nil
	}
	stream, closed := s.streams[f.Stream], s.closed.has(f.Stream)
	switch {
	case f.Type == OpenFrame && (stream != nil || closed):
		return false, violation("OPEN of stream %d, which was opened before", f.Stream)
	case f.Type == OpenFrame:
		s.open(f.Stream)
		return true, nil
	case closed:
		return false, nil
	case stream == nil:
		return false, violation("%v of stream %d, which is not open", f.Type, f.Stream)
	}
	switch f.Type {
	case DataFrame:
		n := uint32(len(f.Payload))
		if n > stream.window {
			return false, violation("DATA of %d bytes of stream %d, whose window is %d", n, f.Stream, stream.window)
		}
		stream.window -= n
		stream.pending += n
	case WindowFrame:
		// The sum saturates: a peer that grants more than it takes is harmless.
		stream.credit += min(f.Delta(), math.MaxUint32-stream.credit)
	case CloseFrame:
		s.forget(f.Stream)
	}
	return true, nil
}

// senderOf returns the side that sends a type, or 0 for both.
func senderOf(t FrameType) Side {
	switch t {
	case OpenFrame, HelloFrame, PongFrame:
		return App
	case WelcomeFrame, PingFrame, ByeFrame:
		return Relay
	}
	return 0
}

// closedIDs is the ids of the streams that were closed last. The zero value is
// empty.
type closedIDs struct {
	ids  map[uint32]struct{}
	ring []uint32 // the same ids; when it is full, the oldest is at next
	next int
}

func (c *closedIDs) has(id uint32) bool {
	_, ok := c.ids[id]
	return ok
}

func (c *closedIDs) add(id uint32) {
	if c.ids == nil {
		c.ids = make(map[uint32]struct{})
	}
	c.ids[id] = struct{}{}
	if len(c.ring) < maxClosed {
		c.ring = append(c.ring, id)
		return
	}
	delete(c.ids, c.ring[c.next])
	c.ring[c.next] = id
	c.next = (c.next + 1) % maxClosed
}
