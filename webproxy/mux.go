package webproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// Limits of one session's memory, in bytes. Those of the two directions are apart,
// so that neither can use up what the other needs to go on.
const (
	maxOutgoing = 5 << 20   // frames that wait to be sent, or to be acknowledged
	maxSocket   = 512 << 10 // frames that wait for a WebSocket, which sends at once
	maxIncoming = 24 << 20  // bytes of streams that wait to be read
	// maxControl is what frames other than DATA may take above maxOutgoing.
	maxControl = 256 << 10
	// grantThreshold is how many bytes are read before they are granted again. The
	// sender has the rest of the window meanwhile.
	grantThreshold = 256 << 10
	// itemCharge is charged for each item that waits to be read, beside its bytes: a DATA
	// frame, or several of maxJoined bytes together at most.
	itemCharge = 256
	maxJoined  = 1 << 10
)

// ErrSessionEnded is the error of streams whose session has ended, unless this side has
// closed it. A new session may work.
var ErrSessionEnded = errors.New("webproxy: the session has ended")

// errStreamClosed is the error of writes to a stream that the peer has closed.
var errStreamClosed = fmt.Errorf("webproxy: the peer has closed the stream: %w", io.ErrClosedPipe)

// lane is an order of frames of its own: that of the session, or of one stream.
type lane struct {
	id     int // SharedLane, SessionLane, or the stream's
	box    outbox
	urgent bool          // box has other frames than WINDOW
	wake   chan struct{} // has an element if the carrier has something to look at
	// parked, if it is not nil, is started in place of wake: the carrier has no goroutine
	// that waits for it.
	parked func()

	// The lane of a stream that is closed. It ends when its frames are sent.
	closed bool

	// At a relay, for requests.
	order struct {
		sync.Mutex // of uploads; before the session's
		up         UpReceiver
	}
	down DownSender
	size batchSize // of batches that are sent
	// writers is the number of requests that write down's batch. Until there is none,
	// its memory is not used again.
	writers int
	unsafe  bool          // a write of it has failed
	poll    chan struct{} // in place of wake: that of the newest poll, nil if there is none
	// At a relay, websocket and websocket-lanes: there is a socket, or was.
	attached bool
}

// signal has the carrier look at the lane. The caller holds the session's mutex.
func (l *lane) signal() {
	if start := l.parked; start != nil {
		l.parked = nil
		go start()
		return
	}
	if l.poll != nil {
		notify(l.poll)
		return
	}
	notify(l.wake)
}

// done reports whether l's stream is closed and all of its frames are sent and
// acknowledged.
func (l *lane) done() bool { return l.closed && l.box.empty() && !l.down.Pending() }

// mux is one side of a session: its state, and the connections of its streams.
type mux struct {
	perStream      bool // each stream has a lane of its own
	fill           bool // chunks are filled: see outbox
	maxOutgoing    int
	sentTo, readBy *share           // of frames that wait to be sent, and of bytes to be read
	accept         func(*Conn) bool // at a relay; called with mu

	mu       sync.Mutex
	state    *Session
	lanes    map[int]*lane
	conns    map[uint32]*Conn
	live     int     // connections that their owner has not closed
	waiting  []*Conn // for room to write
	outgoing int
	incoming int
	moved    atomic.Uint64 // grows with chunks that are queued, taken or received, and parts of these
	err      error
	ended    chan struct{}
	drained  chan struct{}      // closed when nothing waits to be sent; nil if there is no need
	opening  map[*poll]struct{} // that wait until a lane opens
}

func newMux(side Side, carrier Carrier) *mux {
	perStream := carrier.perStream()
	m := &mux{perStream: perStream, fill: !carrier.sockets(), maxOutgoing: maxOutgoing, state: NewSession(side), lanes: make(map[int]*lane), ended: make(chan struct{})}
	if carrier == WebSocket {
		m.maxOutgoing = maxSocket
	}
	if perStream {
		m.addLane(SessionLane)
	} else {
		m.addLane(SharedLane)
	}
	return m
}

// addLane makes a lane. The caller holds m.mu.
func (m *mux) addLane(id int) *lane {
	l := &lane{id: id, wake: make(chan struct{}, 1), box: outbox{shared: id == SharedLane, fill: m.fill}}
	m.lanes[id] = l
	m.wakeOpening()
	return l
}

// wakeOpening has the polls that wait for a lane look again. The caller holds m.mu.
func (m *mux) wakeOpening() {
	for p := range m.opening {
		p.wake()
	}
	m.opening = nil
}

// laneOf returns the lane of a stream. The caller holds m.mu.
func (m *mux) laneOf(stream uint32) *lane {
	if m.perStream {
		return m.lanes[int(stream)]
	}
	return m.lanes[SharedLane]
}

// end ends the session and all of its streams with err. It reports false if it has
// ended already.
func (m *mux) end(err error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.endLocked(err)
}

func (m *mux) endLocked(err error) bool {
	if m.err != nil {
		return false
	}
	m.err = err
	close(m.ended)
	for _, c := range m.conns {
		c.gone(err)
	}
	m.conns, m.waiting = nil, nil
	m.sentTo.add(-m.outgoing, true)
	m.outgoing = 0
	for _, l := range m.lanes {
		l.box, l.down = outbox{}, DownSender{}
		l.signal()
	}
	m.wakeOpening()
	return true
}

// failure returns the error that ended the session, or nil.
func (m *mux) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// reserve takes memory for a batch of n bytes that is to be received, and reports
// whether there is some. A session that has nothing to be read may always have a
// short one.
func (m *mux) reserve(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.incoming+n > maxIncoming || !m.readBy.add(n, m.incoming == 0 && n <= chunkPayload+HeaderLength) {
		return false
	}
	m.incoming += n
	return true
}

// charge takes memory for n bytes without a limit but that of the streams' windows.
func (m *mux) charge(n int) bool {
	m.mu.Lock()
	m.incoming += n
	m.readBy.add(n, true)
	m.mu.Unlock()
	return true
}

// unreserve gives back what reserve took.
func (m *mux) unreserve(n int) {
	m.mu.Lock()
	m.delivered(n)
	m.mu.Unlock()
}

// delivered takes n bytes off those that wait to be read. The caller holds m.mu.
func (m *mux) delivered(n int) {
	m.incoming -= n
	m.readBy.add(-n, true)
}

// queued adds n bytes to those that wait to be sent. Frames other than DATA are
// not refused; a peer that does not take them ends the session. The caller holds
// m.mu.
func (m *mux) queued(n int) {
	m.outgoing += n
	m.sentTo.add(n, true)
	if m.outgoing > m.maxOutgoing+maxControl {
		m.endLocked(violation("the peer takes no frames"))
	}
}

// sent takes n bytes off those that wait to be sent, and wakes writers.
func (m *mux) sent(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sentLocked(n)
}

func (m *mux) sentLocked(n int) {
	if m.err != nil || n == 0 {
		return
	}
	m.outgoing -= n
	m.moved.Add(1)
	m.sentTo.add(-n, true)
	for _, c := range m.waiting {
		notify(c.writable)
	}
	clear(m.waiting)
	m.waiting = m.waiting[:0]
	if m.outgoing == 0 && m.drained != nil {
		close(m.drained)
		m.drained = nil
	}
}

// send queues a frame other than DATA. The caller holds m.mu.
func (m *mux) send(l *lane, f Frame) {
	if l == nil || m.err != nil {
		return
	}
	m.queued(l.box.control(f))
	l.urgent = l.urgent || f.Type != WindowFrame
	l.signal()
}

// write queues the first bytes of p for a stream, and returns their number. It
// returns 0 if there is no credit or no room; c.writable is notified when there may
// be. The caller holds m.mu.
func (m *mux) write(c *Conn, p []byte) int {
	l, room := m.laneOf(c.stream.id), m.maxOutgoing-m.outgoing-HeaderLength
	n := min(len(p), room, chunkPayload, c.stream.Credit())
	if n > 0 && m.sentTo.add(n+HeaderLength, m.outgoing == 0) {
		queued, added := l.box.data(c.stream, p, n)
		m.sentTo.add(added-n-HeaderLength, true) // what was taken too much
		m.outgoing += added
		m.moved.Add(1)
		l.urgent = true
		l.signal()
		return queued
	}
	if c.stream.Credit() > 0 && !slices.Contains(m.waiting, c) {
		m.waiting = append(m.waiting, c)
	}
	return 0
}

// take returns the next frames of a lane, of at most limit bytes, in chunks of
// whole frames, or nil. They count as outgoing until sent is called.
func (m *mux) take(l *lane, limit int) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return l.box.take(limit)
}

var framePool = sync.Pool{New: func() any { return new([]Frame) }}

// receive applies a batch of a lane. If keep is set, the batch belongs to m, and
// otherwise it copies what it needs. An error ends the session, or in a lane of
// websocket-lanes what the caller ends.
func (m *mux) receive(laneID int, batch []byte, keep bool) error {
	scratch := framePool.Get().(*[]Frame)
	defer framePool.Put(scratch)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	frames, err := m.state.Receive((*scratch)[:0], laneID, batch)
	if err != nil {
		return err
	}
	for _, f := range frames {
		// What is kept is the whole array, and only the payload is charged.
		m.apply(f, keep && len(f.Payload) >= cap(batch)/2)
	}
	clear(frames)
	*scratch = frames[:0]
	return m.err
}

// apply applies a frame that the state has accepted. The caller holds m.mu.
func (m *mux) apply(f Frame, keep bool) {
	c := m.conns[f.Stream]
	switch f.Type {
	case OpenFrame:
		m.moved.Add(1)
		m.opened(f.Stream)
	case DataFrame:
		m.moved.Add(1)
		if c != nil && m.err == nil {
			charge := c.enqueue(f.Payload, keep)
			m.incoming += charge
			m.readBy.add(charge, true)
			notify(c.readable)
		}
	case WindowFrame:
		if c != nil {
			notify(c.writable)
		}
	case CloseFrame:
		if l := m.laneOf(f.Stream); l != nil && m.perStream {
			l.closed = true
			l.signal()
		}
		if c != nil {
			m.untrack(c)
			c.closedByPeer()
		}
	case PingFrame:
		for _, id := range []int{SharedLane, SessionLane} {
			m.send(m.lanes[id], Frame{Type: PongFrame, Payload: append([]byte(nil), f.Payload...)})
		}
	case ByeFrame:
		m.endLocked(fmt.Errorf("%w: the relay has sent BYE %.40q", ErrSessionEnded, f.Payload))
	}
}

// opened makes the connection of a stream that the peer has opened, or refuses it.
// The caller holds m.mu.
func (m *mux) opened(id uint32) {
	if m.err != nil {
		return
	}
	if m.perStream && m.lanes[int(id)] == nil {
		m.addLane(int(id))
	}
	stream := m.state.Stream(id)
	if stream == nil { // the same batch closes it
		stream = &Stream{id: id}
	}
	c := newConn(m, stream)
	m.track(c)
	if !m.accept(c) {
		m.close(c)
	}
}

// track adds a connection. The caller holds m.mu.
func (m *mux) track(c *Conn) {
	if m.conns == nil {
		m.conns = make(map[uint32]*Conn)
	}
	m.conns[c.stream.id] = c
	m.live++
}

// untrack removes a connection whose stream is not open any more. The caller holds
// m.mu.
func (m *mux) untrack(c *Conn) {
	delete(m.conns, c.stream.id)
	if i := slices.Index(m.waiting, c); i >= 0 {
		m.waiting = slices.Delete(m.waiting, i, i+1)
	}
}

// close closes a connection on this side. The caller holds m.mu.
func (m *mux) close(c *Conn) {
	c.closed = true
	m.live--
	for _, b := range c.inbox {
		m.delivered(len(b) + itemCharge)
	}
	c.inbox = nil
	c.gone(net.ErrClosed)
	id := c.stream.id
	if m.conns[id] != c {
		return
	}
	m.untrack(c)
	l := m.laneOf(id)
	if m.state.Stream(id) == nil { // the peer's CLOSE is about to be applied
		return
	}
	m.state.forget(id)
	m.send(l, Frame{Type: CloseFrame, Stream: id})
	if m.perStream {
		l.closed = true
	}
}

// lose ends a stream whose carrier is lost.
func (m *mux) lose(id uint32, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.Stream(id) != nil {
		m.state.forget(id)
	}
	if c := m.conns[id]; c != nil {
		m.untrack(c)
		c.gone(err)
	}
	if l := m.lanes[int(id)]; l != nil {
		delete(m.lanes, int(id))
		n := 0
		for _, c := range l.box.chunks {
			n += len(c.b)
		}
		l.box, l.closed = outbox{}, true
		m.sentLocked(n)
		l.signal()
	}
}

// moving is a body whose parts count as moved while it arrives.
type moving struct {
	io.Reader
	mux *mux
}

func (r moving) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.mux.moved.Add(1)
	}
	return n, err
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
