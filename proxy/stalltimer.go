package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// stallTimer detects a data centre that takes bytes and answers nothing. It costs
// a session that moves bytes one timer per StallTimeout, and an idle one nothing.
// It fires once per session: clients also send acknowledgements, which are not
// answered.
//
// An answer counts when it is read, and not when the client has taken it: meanwhile
// the client may have sent a request that is not answered yet. While the client takes
// bytes slowly, and in a pause, nothing is read, so the data centre is not late.
type stallTimer struct {
	// since is when the oldest unanswered upstream byte was sent, in nanoseconds
	// of the session's age; 0 if there is none.
	since atomic.Int64
	holds atomic.Bool // bytes of the data centre wait for the client
	armed atomic.Bool // there is a timer

	mu      sync.Mutex
	expiry  *stallExpiry // nil if there is no timer
	stopped bool
}

// stallExpiry is a timer of a session. The runtime keeps a timer that was stopped for as long
// as it would have run, and with it what that refers to: after the session's end, no session.
type stallExpiry struct {
	session atomic.Pointer[session] // nil after its end
	timer   *time.Timer
}

func (e *stallExpiry) expire() {
	if s := e.session.Load(); s != nil {
		s.expireStall()
	}
}

// armStall notes that a byte is about to go up, which should be answered.
func (s *session) armStall() {
	t := &s.stall
	if t.since.Load() == 0 {
		t.since.Store(s.now())
	}
	if t.armed.Load() {
		return
	}
	if timeout := s.proxy.settings().StallTimeout; timeout > 0 && t.armed.CompareAndSwap(false, true) {
		t.start(timeout, s)
	}
}

// holdsAnswer notes that bytes of the data centre were read, or that the client has
// taken all of them. The answer to what was sent in between cannot have been read.
func (s *session) holdsAnswer(bytes bool) {
	t := &s.stall
	t.holds.Store(bytes)
	if t.since.Load() == 0 {
		return
	}
	if bytes {
		t.since.Store(0)
	} else {
		t.since.Store(s.now())
	}
}

func (t *stallTimer) start(after time.Duration, s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.expiry = new(stallExpiry)
		t.expiry.session.Store(s)
		t.expiry.timer = time.AfterFunc(after, t.expiry.expire)
	}
}

// stop releases the session, which the timer refers to.
func (t *stallTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.expiry != nil {
		t.expiry.timer.Stop()
		t.expiry.session.Store(nil)
	}
}

// idle goes on without a timer until a byte goes up again.
func (t *stallTimer) idle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expiry = nil
	t.armed.Store(false)
}

// expireStall is called by the timer.
func (s *session) expireStall() {
	since, timeout := s.stall.since.Load(), s.proxy.settings().StallTimeout
	if since == 0 || timeout <= 0 {
		s.stall.idle()
		if s.stall.since.Load() != 0 { // sent since the check, without a timer
			s.armStall()
		}
		return
	}
	if s.stall.holds.Load() {
		s.stall.start(timeout, s)
		return
	}
	waited := time.Since(s.start) - time.Duration(max(since, s.pausedUntil[Download].Load()))
	if left := timeout - waited; left > 0 {
		s.stall.start(left, s)
		return
	}
	// Under mu, so that the session does not end before the hooks have returned.
	s.stall.mu.Lock()
	defer s.stall.mu.Unlock()
	if s.stall.stopped {
		return
	}
	s.proxy.counters.stalls.Add(1)
	s.proxy.dataCenters.stalled(s.dc, s.proxy.dataCenters.at(s, since), Stage(s.stage.Load()) == FirstByteDown)
	s.proxy.trace.stalled(s, waited)
}
