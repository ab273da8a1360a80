package webproxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/wsstream"
)

// serveSocket answers the upgrade to a session's or a stream's WebSocket.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) bool {
	offered := r.Header["Sec-Websocket-Protocol"]
	if len(offered) != 1 || r.Header["Authorization"] != nil || !wsstream.IsUpgrade(r) {
		return false
	}
	session, id, ok := s.findSocket(offered[0])
	if !ok {
		return false
	}
	s.known(r)
	done := session.begin()
	l := session.attach(id)
	if l == nil {
		done()
		return false
	}
	conn, err := wsstream.Accept(w, r, offered[0], MaxBatchLength)
	if err != nil {
		session.detach(l, err)
		done()
		return true
	}
	// Package http keeps the request, its buffers and a large stack until its handler returns.
	go newServerSocket(session, l, conn, done).run()
	return true
}

// findSocket returns the session and the lane that a sub-protocol names.
func (s *Server) findSocket(name string) (session *session, id int, ok bool) {
	text, shared := strings.CutPrefix(name, subprotocol)
	id = SharedLane
	if !shared {
		var number string
		if text, ok = strings.CutPrefix(name, laneSubprotocol); !ok {
			return nil, 0, false
		}
		text, number, _ = strings.Cut(text, ".")
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n < 1 || n > MaxStream || strconv.FormatUint(n, 10) != number {
			return nil, 0, false
		}
		id = int(n)
	}
	t, ok := parseToken(text)
	if session = s.find(t); !ok || session == nil {
		return nil, 0, false
	}
	return session, id, session.carrier == WebSocket && shared || session.carrier == WebSocketLanes && !shared
}

// attach returns the lane for a socket, or nil if it has one already.
func (s *session) attach(id int) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[id]
	switch {
	case s.err != nil:
		return nil
	case id != SharedLane && (l != nil || s.state.Closed(uint32(id)) || len(s.lanes) > s.server.limits.SessionStreams+16):
		return nil
	case id != SharedLane:
		l = s.addLane(id)
	case l.attached:
		return nil
	}
	l.attached = true
	return l
}

// detach ends what a socket that is lost carried: the session, or its stream.
func (s *session) detach(l *lane, err error) {
	if l.id == SharedLane {
		if closeStatus(err) >= 0 {
			err = nil
		}
		s.end(err)
		return
	}
	s.lose(uint32(l.id), errStreamLost(err))
}

// waitForRoom takes memory for a message, and waits up to 30 seconds for that.
func (s *session) waitForRoom(n int) bool {
	limit := time.Now().Add(ioTime)
	for !s.reserve(n) {
		if time.Now().After(limit) || s.failure() != nil {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}
