package proxy

import (
	"cmp"
	"net"
	"slices"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/obfuscation"
)

// A session can go on in another process: it is suspended, its state and its sockets are
// sent there, and it is released. Until it is released, it can be resumed as well: nothing
// is read or written meanwhile, and what peers send stays in the kernel.

// Suspended is a session that moves no bytes until Resume, and may be closed meanwhile.
// One of Resume, Keep, Close and Release must be called before the next call of
// Suspender.Suspend, after which it is another session. Its methods are for one goroutine.
type Suspended struct {
	session *session
	pair    *splice.Pair // of the session; it may have another one when this one is over
	state   SessionState
	refers  stateMemory // of state
	ok      bool        // whether pair has stopped

	note func(ok bool) // sends it to the Suspender when pair has stopped, or not
}

// stateMemory is what the pointers of a SessionState refer to, so that the next one takes no
// memory.
type stateMemory struct {
	receive, send obfuscation.Cursor
	records       faketls.Deframer
	lengths       RecordLengths
	first         FirstPackets
}

// State returns the session's state. It is not to be changed, and has the memory of s.
func (s *Suspended) State() *SessionState { return &s.state }

// Sockets returns the sockets of the session, which are syscall.Conns. Nothing may be
// read from them or written to them.
func (s *Suspended) Sockets() (client, upstream net.Conn) {
	return s.session.socket, s.session.upstream.conn
}

// Resume has the session go on here.
func (s *Suspended) Resume() { s.pair.Resume() }

// Keep is Resume for a session that the other process does not take: it is not suspended
// again.
func (s *Suspended) Keep() {
	s.session.stays.Store(true)
	s.Resume()
}

// Close ends the session, which the other process does not admit.
func (s *Suspended) Close() {
	s.session.Close(ErrNotAdmitted)
	s.Resume()
}

// Release gives the session up, which goes on in another process: it is not traced as ended,
// and Stats keeps the bytes that it has moved here. Its sockets are closed here, which their peers do not notice while
// the other process has them. Release returns false, and does nothing, if the session has
// been closed.
func (s *Suspended) Release() bool {
	if !s.pair.Release() {
		return false
	}
	s.session.release()
	return true
}

// release is end for a session that goes on in another process.
func (s *session) release() {
	s.proxy.counters.relaying.Add(-1)
	s.stall.stop()
	s.endTrial()
	s.sent.remove()
	s.socket.Close()
	s.upstream.conn.Close()
	s.mu.Lock()
	s.duration = max(time.Since(s.start), 1)
	r := s.report()
	s.mu.Unlock()
	switch account := s.account.(type) {
	case nil:
	case Releaser:
		account.Released(r)
	default:
		account.Done(r)
	}
	s.forget(&r)
}

// suspendTime is how long Suspend waits for sessions that move bytes: those whose peers
// take what was read are suspended much sooner.
const suspendTime = 20 * time.Millisecond

// Suspender suspends the sessions of a proxy, one after the other. It refers to those that
// it has found, and is to be dropped with the last of them. Its methods are for one
// goroutine.
type Suspender struct {
	proxy *Proxy

	// The sessions as the last look has found them. A look at all sessions for each call
	// would take longer than to move them.
	idle, busy []*session
	later      int

	memory  []*Suspended // the results of the last call, and more
	stopped chan *Suspended
}

// Suspender returns one for p.
func (p *Proxy) Suspender() *Suspender { return &Suspender{proxy: p} }

// Suspend suspends up to limit sessions, those first that move nothing, and returns them.
// idle is how many others move nothing and can be suspended, and left how many in all are
// not suspended and may be, now or later: some do not finish writing yet, and others are
// still in their handshake. Sessions of TLS or WebSocket clients, of FakeTLS upstreams and
// of unauthenticated clients cannot be suspended. Systems other than Linux suspend none.
//
// The newest sessions come first, so that what came together into memory leaves it together.
func (q *Suspender) Suspend(limit int) (suspended []*Suspended, idle, left int) {
	q.forget()
	chosen, fresh := q.take(limit), false
	if len(chosen) == 0 {
		fresh = true
		q.look()
		chosen = q.take(limit)
	}
	busy := len(q.busy)
	if len(chosen) == 0 {
		chosen = q.busy[:min(busy, limit)]
		busy -= len(chosen)
	}
	suspended = q.suspend(chosen)
	idle = len(q.idle)
	if left = idle + busy + q.later + len(chosen) - len(suspended); left == 0 && !fresh {
		left = 1 // others may have come since the look
	}
	return suspended, idle, left
}

// forget gives up the sessions of the last call.
func (q *Suspender) forget() {
	for _, s := range q.memory {
		s.session, s.pair, s.state, s.refers = nil, nil, SessionState{}, stateMemory{}
	}
}

// look looks at all sessions.
func (q *Suspender) look() {
	q.idle, q.busy, q.later = nil, nil, 0
	q.proxy.each(func(s *session) {
		switch s.mobility() {
		case movableIdle:
			q.idle = append(q.idle, s)
		case movableBusy:
			q.busy = append(q.busy, s)
		case movableLater:
			q.later++
		}
	})
	slices.SortFunc(q.idle, func(a, b *session) int { return cmp.Compare(b.id, a.id) })
}

// take removes up to limit of the idle sessions, without those that are not idle any more.
func (q *Suspender) take(limit int) (chosen []*session) {
	for len(q.idle) > 0 && len(chosen) < limit {
		s := q.idle[0]
		q.idle[0], q.idle = nil, q.idle[1:] // which may have ended, and is garbage then
		switch s.mobility() {
		case movableIdle:
			chosen = append(chosen, s)
		case movableBusy, movableLater:
			q.later++
		}
	}
	return chosen
}

// grow makes room for n results.
func (q *Suspender) grow(n int) {
	for len(q.memory) < n {
		s := new(Suspended)
		s.note = func(ok bool) {
			s.ok = ok
			q.stopped <- s
		}
		q.memory = append(q.memory, s)
	}
	if cap(q.stopped) < n {
		q.stopped = make(chan *Suspended, n)
	}
}

// suspend suspends sessions, and returns those that could be in time.
func (q *Suspender) suspend(sessions []*session) (all []*Suspended) {
	q.grow(len(sessions))
	n := 0
	for _, s := range sessions {
		s.mu.Lock()
		pair := s.pair
		s.mu.Unlock()
		if pair != nil {
			next := q.memory[n]
			next.session, next.pair = s, pair
			pair.Suspend(next.note)
			n++
		}
	}
	tried, canceled := q.memory[:n], make(chan struct{})
	late := time.AfterFunc(suspendTime, func() {
		defer close(canceled)
		for _, s := range tried {
			s.pair.CancelSuspend()
		}
	})
	for range tried {
		if s := <-q.stopped; s.ok {
			s.takeState()
			all = append(all, s)
		}
	}
	if !late.Stop() {
		<-canceled // before tried has other sessions
	}
	return all
}

// mobility is whether a session can be suspended.
type mobility uint8

const (
	immovable mobility = iota
	movableLater
	movableBusy // it moves bytes
	movableIdle
)

// mobility returns whether s can be suspended.
func (s *session) mobility() mobility {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := time.Since(s.start)
	switch stage := Stage(s.stage.Load()); {
	case s.closed != nil || s.stays.Load():
		return immovable
	case s.pair != nil:
	case stage == Accepted && age < idleTime, stage < Dialled && stage > Accepted && age < handshakeGrace, stage >= Dialled:
		return movableLater
	default:
		return immovable
	}
	ok, idle := s.pair.Suspendable()
	if !ok {
		return immovable
	}
	if t := s.trial.Load(); t != nil && !t.canEnd() {
		return movableLater
	}
	if idle {
		return movableIdle
	}
	return movableBusy
}

// canEnd reports whether the client has asked nothing yet, on a connection that its data
// centre keeps: it need not be moved on to another one.
func (t *trial) canEnd() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over || !t.asked && !t.lost && len(t.kept) == 0 && t.next == nil && time.Since(t.since) >= earlyEnd
}

// takeState sets the state, of a session whose pair is suspended.
func (suspended *Suspended) takeState() {
	s, refers := suspended.session, &suspended.refers
	s.mu.Lock()
	defer s.mu.Unlock()
	up, down := suspended.pair.State()
	user := s.user.Load()
	suspended.state = SessionState{
		User: user.Name, Secret: secretID(s.secret, user.AdTag),
		Mode: s.mode, Protocol: s.protocol, DC: s.dc, Stage: Stage(s.stage.Load()),
		Client: s.source, Upstream: s.upstream.Via, Address: s.upstream.Address,
		Age: time.Since(s.start), Last: time.Duration(s.last.Load()),
		TransportError: s.transportError.Load(),
		Up:             DirectionState{up.Bytes + s.early, up.Ended},
		Down:           DirectionState{down.Bytes, down.Ended},
		Receive:        s.up.receive, Send: s.up.send,
	}
	state := &suspended.state
	// After the timeout the stall was counted.
	if since := time.Duration(s.stall.since.Load()); since > 0 && state.Age-since < s.proxy.settings().StallTimeout {
		state.Unanswered = since
	}
	if s.down != nil {
		refers.receive, refers.send = s.down.receive, s.down.send
		state.DownReceive, state.DownSend = &refers.receive, &refers.send
	}
	if s.up.records != nil {
		framing := cmp.Or(s.records, defaultRecords)
		refers.records = *s.up.records
		refers.lengths = RecordLengths{framing.Leading, framing.Ramp, framing.MaxBody, down.Bodies}
		state.Records, state.RecordLengths = &refers.records, &refers.lengths
	}
	if first := s.first; first != nil && !down.Inspected {
		refers.first = FirstPackets{*first.download, first.offset, first.payloads, first.rest}
		state.FirstPackets = &refers.first
	}
}
