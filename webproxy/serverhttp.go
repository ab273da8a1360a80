package webproxy

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP serves a client, or passes the request to the site.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.serve(w, r) {
		return
	}
	s.site.ServeHTTP(w, s.redact(r))
}

// serve serves r if it is a valid request of a client, and otherwise reports false
// and has answered nothing.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) bool {
	rest, below := strings.CutPrefix(r.URL.Path, s.base)
	if host := strings.TrimSuffix(r.Host, ":443"); !below || host != s.host || r.URL.RawPath != "" || s.isClosed() {
		return false
	}
	switch rest {
	case "":
		return s.servePage(w, r)
	case pathSession, pathUp, pathDown, pathSocket:
	default:
		return false
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return false
	}
	if rest == pathSocket {
		return r.Method == http.MethodGet && s.serveSocket(w, r)
	}
	t, ok := bearer(r)
	if !ok || r.Header["Cookie"] != nil {
		return false
	}
	switch {
	case rest == pathSession && r.Method == http.MethodPost:
		return s.serveStart(w, r, t)
	case rest == pathSession && r.Method == http.MethodDelete:
		return s.serveDelete(w, r, t)
	case r.Method != http.MethodPost || rest == pathSession:
		return false
	}
	session := s.find(t)
	if session == nil || session.carrier.sockets() {
		return false
	}
	laneID, ok := session.laneID(r)
	if !ok {
		return false
	}
	s.known(r)
	defer session.begin()()
	if session.carrier == HTTPSLanes && r.ProtoMajor == 1 {
		s.lanesOnce.Do(func() {
			s.log.Warn("a client uses https-lanes over HTTP/1.1, in which few streams can move at a time; offer HTTP/2, or take another carrier")
		})
	}
	if rest == pathUp {
		return session.serveUp(w, r, laneID)
	}
	return session.serveDown(w, r, laneID)
}

// bearer returns the token of a request.
func bearer(r *http.Request) (token, bool) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return token{}, false
	}
	text, ok := strings.CutPrefix(values[0], "Bearer ")
	t, valid := parseToken(text)
	return t, ok && valid
}

// number parses a header in canonical decimal.
func number(r *http.Request, name string) (uint64, bool) {
	values := r.Header[name]
	if len(values) != 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	return n, err == nil && strconv.FormatUint(n, 10) == values[0]
}

// laneID returns the lane of a request.
func (s *session) laneID(r *http.Request) (int, bool) {
	if s.carrier != HTTPSLanes {
		return SharedLane, r.Header[headerLane] == nil
	}
	n, ok := number(r, headerLane)
	return int(n), ok && n <= MaxStream
}

// answer writes the headers of an answer to a client.
func answer(w http.ResponseWriter, status int, pairs ...string) {
	h := w.Header()
	h["Cache-Control"] = []string{"no-store"}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	w.WriteHeader(status)
}

// busy answers that the same request may be sent again.
func busy(w http.ResponseWriter) bool {
	answer(w, http.StatusServiceUnavailable, "Retry-After", "1")
	return true
}

// hasBody reports whether a request's body has the protocol's type.
func hasBody(r *http.Request) bool {
	values := r.Header["Content-Type"]
	return len(values) == 1 && values[0] == bodyType
}

// hasNoBody reports whether a request has none, and no type. An empty type passes:
// telethon-webproxy sends one.
func hasNoBody(r *http.Request) bool {
	return r.Header.Get("Content-Type") == "" && r.ContentLength == 0
}

// readBody reads a request's body of at most limit bytes. It has 30 seconds for
// each 256 KiB, so that a slow client is served and one that sends nothing is not.
// After an error the deadline stays for what package http reads of the rest.
func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	const step = 256 << 10
	control := http.NewResponseController(w)
	size := limit
	if r.ContentLength >= 0 {
		size = int(r.ContentLength)
	}
	b := make([]byte, 0, min(size, step))
	for {
		if err := control.SetReadDeadline(time.Now().Add(ioTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return nil, err
		}
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(2*cap(b)+step, size+1)), b...)
		}
		n, err := io.ReadFull(r.Body, b[len(b):min(cap(b), len(b)+step)])
		b = b[:len(b)+n]
		switch {
		case len(b) > limit:
			return nil, violation("a body of more than %d bytes", limit)
		case err == io.EOF || err == io.ErrUnexpectedEOF && (r.ContentLength < 0 || len(b) == size):
			control.SetReadDeadline(time.Time{})
			return b, nil
		case err != nil:
			return nil, err
		case len(b) == size && r.ContentLength >= 0:
			control.SetReadDeadline(time.Time{})
			return b, nil
		}
	}
}

// serveStart answers POST session, with a page's token.
func (s *Server) serveStart(w http.ResponseWriter, r *http.Request, t token) bool {
	if !s.key.verify(t, bootstrapToken) || !hasBody(r) || r.ContentLength > 64 {
		return false
	}
	body, err := readBody(w, r, 64)
	if err != nil || string(body) != string(AppendHello(nil)) {
		return false
	}
	session, err := s.start(t, r)
	switch {
	case errors.Is(err, errFull):
		return busy(w)
	case session == nil:
		return false
	}
	s.known(r)
	defer session.begin()()
	welcome := AppendWelcome(nil)
	answer(w, http.StatusOK, headerToken, session.token.String(), headerCursor, "0", headerCarrier, session.carrier.String(),
		"Content-Type", bodyType, "Content-Length", strconv.Itoa(len(welcome)))
	w.Write(welcome)
	return true
}

// serveDelete answers DELETE session.
func (s *Server) serveDelete(w http.ResponseWriter, r *http.Request, t token) bool {
	if !hasNoBody(r) || !s.key.verify(t, sessionToken) {
		return false
	}
	if session := s.find(t); session != nil {
		session.delete()
	}
	s.mu.Lock()
	_, deleted := s.deleted[t]
	s.mu.Unlock()
	if deleted {
		answer(w, http.StatusNoContent)
	}
	return deleted
}

// serveUp answers an upload: a batch, applied once.
func (s *session) serveUp(w http.ResponseWriter, r *http.Request, laneID int) bool {
	sequence, ok := number(r, headerUp)
	if !ok || !hasBody(r) || r.ContentLength > MaxBatchLength {
		return false
	}
	size := int(r.ContentLength)
	if size < 0 {
		size = MaxBatchLength
	}
	if !s.reserve(size) {
		return busy(w)
	}
	defer s.unreserve(size)
	body, err := readBody(w, r, MaxBatchLength)
	if err != nil {
		return false // the client repeats the request
	}
	if err := s.upload(laneID, sequence, body); err != nil {
		s.end(err)
		return false
	}
	answer(w, http.StatusNoContent, headerUpAck, strconv.FormatUint(sequence, 10))
	return true
}

// upload applies a batch, unless it repeats the one before. An error ends the
// session.
func (s *session) upload(laneID int, sequence uint64, body []byte) error {
	l, err := s.uploadLane(laneID, sequence, body)
	if err != nil {
		return err
	}
	if l == nil { // of a stream that is forgotten
		return s.receive(laneID, body, true)
	}
	l.order.Lock()
	defer l.order.Unlock()
	fresh, err := l.order.up.Check(sequence, body)
	if err != nil || !fresh {
		return err
	}
	if err := s.receive(laneID, body, true); err != nil {
		return err
	}
	l.order.up.Accept()
	return nil
}

// uploadLane returns the lane of an upload, which the first one of a stream makes,
// or nil if the stream is closed.
func (s *session) uploadLane(id int, sequence uint64, body []byte) (*lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[id]; l != nil || s.err != nil {
		return l, s.err
	}
	if f, _, err := ParseFrame(body); err != nil || f.Type != OpenFrame || s.state.Closed(uint32(id)) {
		return nil, nil
	}
	if sequence != 1 {
		return nil, violation("lane %d begins with upload %d", id, sequence)
	}
	if len(s.lanes) > 2*s.server.limits.SessionStreams+16 {
		return nil, violation("too many lanes whose end is not taken")
	}
	return s.addLane(id), nil
}

// serveDown answers a long poll with the next batch of a lane.
func (s *session) serveDown(w http.ResponseWriter, r *http.Request, laneID int) bool {
	cursor, ok := number(r, headerCursor)
	if !ok || !hasNoBody(r) {
		return false
	}
	p := poll{session: s, request: r, cursor: cursor, timer: time.NewTimer(pollTime)}
	defer p.timer.Stop()
	l, ok := p.find(laneID, w)
	if l == nil {
		return ok
	}
	result, batch, next, err := p.wait(l)
	switch {
	case err != nil:
		s.end(err)
		return false
	case result == pollGone:
		return s.failure() == nil && r.Context().Err() != nil // the client has left
	case result == pollEnded:
		laneClosed(w, cursor)
		return true
	case result == pollEmpty:
		answer(w, http.StatusNoContent, headerCursor, strconv.FormatUint(cursor, 10))
		return true
	}
	answer(w, http.StatusOK, headerCursor, strconv.FormatUint(next, 10), "Content-Type", bodyType,
		"Content-Length", strconv.Itoa(length(batch)))
	err = writeBatch(w, batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	// After an error, package http may still be reading what it got: a stream of HTTP/2
	// that is reset ends the call, not the write. So its memory is not used again.
	if l.writers--; err != nil {
		l.unsafe = true
	}
	return true
}

// laneClosed answers a poll of a lane that has ended.
func laneClosed(w http.ResponseWriter, cursor uint64) {
	answer(w, http.StatusNoContent, headerCursor, strconv.FormatUint(cursor, 10), headerClosed, "1")
}

// writeBatch writes a body. Each part has 30 seconds. A client that has got a part
// of it asks again. After an error, the batch may still be read.
func writeBatch(w http.ResponseWriter, batch [][]byte) error {
	control := http.NewResponseController(w)
	defer control.SetWriteDeadline(time.Time{})
	for _, part := range batch {
		control.SetWriteDeadline(time.Now().Add(ioTime))
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	control.Flush()
	return nil
}

// poll is one long poll.
type poll struct {
	session *session
	request *http.Request
	cursor  uint64
	timer   *time.Timer
}

type pollResult int

const (
	pollBatch pollResult = iota
	pollEmpty            // nothing to send for now, or a newer poll has come
	pollEnded            // and the lane has ended
	pollGone             // the session has ended, or the client has left
)

// find returns the lane to poll. If its stream is not open yet, find waits: the
// upload that opens it may be on its way. If there is none, it returns nil, and
// reports whether it has answered.
func (p *poll) find(id int, w http.ResponseWriter) (*lane, bool) {
	s := p.session
	for {
		s.mu.Lock()
		l, closed, err := s.lanes[id], s.state.Closed(uint32(max(id, 0))), s.err
		if l == nil && s.opening == nil {
			s.opening = make(chan struct{})
		}
		opening := s.opening
		s.mu.Unlock()
		switch {
		case err != nil:
			return nil, false
		case l != nil:
			return l, true
		case closed: // and its last batch is acknowledged
			laneClosed(w, p.cursor)
			return nil, true
		case p.cursor != 0:
			return nil, false
		}
		select {
		case <-opening:
		case <-p.timer.C:
			answer(w, http.StatusNoContent, headerCursor, "0")
			return nil, true
		case <-s.ended:
			return nil, false
		case <-p.request.Context().Done():
			return nil, true
		}
	}
}

// wait waits until there is a batch for the cursor, and returns it with the cursor
// that acknowledges it.
func (p *poll) wait(l *lane) (result pollResult, batch [][]byte, next uint64, err error) {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return pollGone, nil, 0, nil
	}
	last := l.down.batch
	repeat, acknowledged, err := l.down.Poll(p.cursor)
	if err != nil {
		return 0, nil, 0, err
	}
	s.sentLocked(acknowledged)
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
		close(l.poll)
	}
	mine := make(chan struct{})
	l.poll = mine
	defer func() {
		if l.poll == mine {
			l.poll = nil
		} else {
			l.signal() // for the newer one, in case this one took its signal
		}
	}()
	if repeat != nil {
		l.writers++
		return pollBatch, repeat, p.cursor + 1, nil
	}
	for {
		switch {
		case s.err != nil:
			return pollGone, nil, 0, nil
		case l.poll != mine:
			return pollEmpty, nil, 0, nil
		case !l.box.empty():
			batch = l.box.take(l.size.limit())
			l.writers++
			return pollBatch, batch, l.down.Send(batch), nil
		case l.done():
			if s.lanes[l.id] == l {
				delete(s.lanes, l.id)
			}
			return pollEnded, nil, 0, nil
		}
		if result, over := p.sleep(l, mine); over {
			return result, nil, 0, nil
		}
	}
}

// sleep waits without the session's mutex, and reports whether the poll is over.
func (p *poll) sleep(l *lane, mine chan struct{}) (result pollResult, over bool) {
	s := p.session
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-l.wake:
		return 0, false
	case <-mine:
		return pollEmpty, true
	case <-p.timer.C:
		return pollEmpty, true
	case <-s.ended:
		return pollGone, true
	case <-p.request.Context().Done():
		return pollGone, true
	}
}
