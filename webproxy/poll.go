package webproxy

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// poll is one long poll. It waits at one channel, since what a goroutine waits with is a part
// of what an idle lane takes.
type poll struct {
	session *session
	ctx     context.Context // the request's
	lane    int
	cursor  uint64
	timer   *time.Timer
	stop    func() bool   // of ctx
	done    func()        // of session.begin
	woken   chan struct{} // has an element if there may be a result
	expired atomic.Bool   // pollTime is over
	buffer  *[]byte       // see lendBuffer

	// The result.
	batch [][]byte
	next  uint64 // cursor that acknowledges batch
	err   error  // of pollWrong
}

func (p *poll) wake() { notify(p.woken) }

func (p *poll) expire() {
	p.expired.Store(true)
	p.wake()
}

type pollResult int

const (
	pollWaits   pollResult = iota // there is no result yet
	pollBatch                     // of the lane
	pollEmpty                     // nothing to send for now, or a newer poll has come
	pollEnded                     // the lane has ended
	pollGone                      // the session has ended, or the client has left
	pollUnknown                   // there is no such lane
	pollWrong                     // the cursor ends the session
)

// newPoll returns the long poll for the next batch of a lane, nil if the request is not valid.
// The poll calls done, of begin, at its end.
func (s *session) newPoll(r *http.Request, laneID int, done func()) *poll {
	cursor, ok := number(r, headerCursor)
	if !ok || !hasNoBody(r) {
		return nil
	}
	p := &poll{session: s, ctx: r.Context(), lane: laneID, cursor: cursor, woken: make(chan struct{}, 1), done: done}
	p.timer = time.AfterFunc(pollTime, p.expire)
	p.stop = context.AfterFunc(p.ctx, p.wake)
	return p
}

// serve waits for the poll's result, and answers it. It reports false if it has answered
// nothing.
func (p *poll) serve(w http.ResponseWriter) bool {
	result, l := p.begin()
	if result == pollWaits {
		p.buffer = lendBuffer(w)
	}
	for result == pollWaits {
		<-p.woken
		result, l = p.look(l)
	}
	return p.end(w, result, l)
}

// end answers the poll of a lane.
func (p *poll) end(w http.ResponseWriter, result pollResult, l *lane) bool {
	defer p.done()
	returnBuffer(p.buffer)
	p.timer.Stop()
	p.stop()
	return p.answer(w, result, l)
}

// answer answers the poll of a lane.
func (p *poll) answer(w http.ResponseWriter, result pollResult, l *lane) bool {
	s, cursor := p.session, strconv.FormatUint(p.cursor, 10)
	switch result {
	case pollWrong:
		s.end(p.err)
		return false
	case pollUnknown:
		return false
	case pollGone:
		return s.failure() == nil && p.ctx.Err() != nil // the client has left
	case pollEnded:
		answer(w, http.StatusNoContent, headerCursor, cursor, headerClosed, "1")
		return true
	case pollEmpty:
		answer(w, http.StatusNoContent, headerCursor, cursor)
		return true
	}
	answer(w, http.StatusOK, headerCursor, strconv.FormatUint(p.next, 10), "Content-Type", bodyType,
		"Content-Length", strconv.Itoa(length(p.batch)))
	err := s.writeBatch(w, p.batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	// After an error, package http may still be reading what it got: a stream of HTTP/2
	// that is reset ends the call, not the write. So its memory is not used again.
	if l.writers--; err != nil {
		l.unsafe = true
	}
	return true
}

// begin returns the lane to poll, and the result if there is one. If the lane's stream is not
// open yet, because the upload that opens it may be on its way, it returns no lane.
func (p *poll) begin() (pollResult, *lane) {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.opening, p)
	l := s.lanes[p.lane]
	switch {
	case s.err != nil || p.ctx.Err() != nil:
		return pollGone, nil
	case l != nil:
		return p.enter(l), l
	case s.state.Closed(uint32(max(p.lane, 0))): // and its last batch is acknowledged
		return pollEnded, nil
	case p.cursor != 0:
		return pollUnknown, nil
	case p.expired.Load():
		return pollEmpty, nil
	}
	if s.opening == nil {
		s.opening = make(map[*poll]struct{})
	}
	s.opening[p] = struct{}{}
	return pollWaits, nil
}

// enter makes p the newest poll of a lane, and returns the result if there is one. The
// caller holds the session's mutex.
func (p *poll) enter(l *lane) pollResult {
	last := l.down.batch
	repeat, acknowledged, err := l.down.Poll(p.cursor)
	if err != nil {
		p.err = err
		return pollWrong
	}
	p.session.sentLocked(acknowledged)
	switch {
	case acknowledged > 0:
		l.size.arrived()
		if l.writers == 0 && !l.unsafe {
			recycle(last...)
		}
		l.unsafe = false
	case repeat != nil:
		l.size.repeated()
	}
	if l.poll != nil {
		notify(l.poll) // which has been replaced
	}
	l.poll = p.woken
	if repeat != nil {
		l.writers++
		l.poll, p.batch, p.next = nil, repeat, p.cursor+1
		return pollBatch
	}
	return p.lookLocked(l)
}

// look returns the result of the lane that p polls, if there is one. A nil lane is not open
// yet.
func (p *poll) look(l *lane) (pollResult, *lane) {
	if l == nil {
		return p.begin()
	}
	p.session.mu.Lock()
	defer p.session.mu.Unlock()
	return p.lookLocked(l), l
}

// lookLocked is look. The caller holds the session's mutex.
func (p *poll) lookLocked(l *lane) (result pollResult) {
	s := p.session
	replaced := l.poll != p.woken
	switch {
	case s.err != nil || p.ctx.Err() != nil:
		result = pollGone
	case replaced:
		result = pollEmpty
	case !l.box.empty():
		p.batch = l.box.take(l.size.limit())
		l.writers++
		p.next, result = l.down.Send(p.batch), pollBatch
	case l.done():
		if s.lanes[l.id] == l {
			delete(s.lanes, l.id)
		}
		result = pollEnded
	case p.expired.Load():
		result = pollEmpty
	default:
		return pollWaits
	}
	if !replaced {
		l.poll = nil
	}
	return result
}
