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
	// A poll waits here, where the goroutine's stack is small: below 1.2 KiB, so that the
	// collector may shrink it to 4 KiB.
	p, served := s.serve(w, r)
	if p != nil {
		served = p.serve(w)
	}
	if !served {
		s.drain(w)
		forSite := s.redact(r)
		if forSite != r { // which has no body any more
			limitRest(w, r)
		}
		s.site.ServeHTTP(w, forSite)
	}
}

// serve serves r if it is a valid request of a client, and otherwise reports false
// and has answered nothing. It returns a long poll, which it leaves to the caller.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) (p *poll, served bool) {
	rest, below := strings.CutPrefix(r.URL.Path, s.base)
	if host := strings.TrimSuffix(r.Host, ":443"); !below || host != s.host || r.URL.RawPath != "" || s.isClosed() {
		return nil, false
	}
	switch rest {
	case "":
		return nil, s.servePage(w, r)
	case pathSession, pathUp, pathDown, pathSocket:
	default:
		return nil, false
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return nil, false
	}
	if rest == pathSocket {
		return nil, r.Method == http.MethodGet && s.serveSocket(w, r)
	}
	t, ok := bearer(r)
	if !ok || r.Header["Cookie"] != nil {
		return nil, false
	}
	switch {
	case rest == pathSession && r.Method == http.MethodPost:
		return nil, s.serveStart(w, r, t)
	case rest == pathSession && r.Method == http.MethodDelete:
		return nil, s.serveDelete(w, r, t)
	case r.Method != http.MethodPost || rest == pathSession:
		return nil, false
	}
	session := s.find(t)
	if session == nil || session.carrier.sockets() {
		return nil, false
	}
	laneID, ok := session.laneID(r)
	if !ok {
		return nil, false
	}
	s.known(r)
	done := session.beginUnlessCrowded()
	if done == nil {
		return nil, busy(w, r)
	}
	// Without TLS there is a web server in front, to which the client may speak HTTP/2.
	if session.carrier == HTTPSLanes && r.ProtoMajor == 1 && r.TLS != nil {
		s.lanesOnce.Do(func() {
			s.log.Warn("a client uses https-lanes over HTTP/1.1, in which few streams can move at a time; offer HTTP/2, or take another carrier")
		})
	}
	if rest == pathUp {
		defer done()
		return nil, session.serveUp(w, r, laneID)
	}
	if p = session.newPoll(r, laneID, done); p == nil {
		done()
	}
	return p, false
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

// limitRest limits the time of a body that is not read: package http reads some of it before
// it sends the answer.
func limitRest(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(ioTime))
	}
}

// busy answers that the same request may be sent again.
func busy(w http.ResponseWriter, r *http.Request) bool {
	limitRest(w, r)
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

// readBody reads a request's body of at most limit bytes from its Body, or what wraps it.
// It has 30 seconds for each 64 KiB, so that a slow client is served and one that sends
// nothing is not: the shortest batches that clients make of long uploads take less than the 90
// seconds of a request then.
// After an error the deadline stays for what package http reads of the rest.
func readBody(w http.ResponseWriter, r *http.Request, from io.Reader, limit int) ([]byte, error) {
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
		n, err := io.ReadFull(from, b[len(b):min(cap(b), len(b)+messageStep)])
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
	body, err := readBody(w, r, r.Body, 64)
	if err != nil || string(body) != string(AppendHello(nil)) {
		return false
	}
	session, err := s.start(t, r)
	switch {
	case errors.Is(err, errFull):
		return busy(w, r)
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
		return busy(w, r)
	}
	defer s.unreserve(size)
	body, err := readBody(w, r, moving{r.Body, s.mux}, MaxBatchLength)
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

// writeBatch writes a body. Each part has 90 seconds, for which clients wait for an answer: it
// may be 256 KiB, in a slow network. A client that has got a part of it asks again. After an
// error, the batch may still be read.
func (s *session) writeBatch(w http.ResponseWriter, batch [][]byte) error {
	control := http.NewResponseController(w)
	defer control.SetWriteDeadline(time.Time{})
	for _, part := range batch {
		control.SetWriteDeadline(time.Now().Add(requestTime))
		if _, err := w.Write(part); err != nil {
			return err
		}
		s.moved.Add(1)
	}
	control.Flush()
	return nil
}
