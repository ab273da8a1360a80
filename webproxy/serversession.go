package webproxy

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// session is a session at a relay.
type session struct {
	*mux
	server  *Server
	token   token
	user    *serverUser
	account *account
	carrier Carrier
	addr    net.Addr

	activity sync.Mutex
	requests int // under way, and sockets
	expiry   *time.Timer
}

var errExpired = errors.New("no request for two minutes")

// issueBootstrap returns the token of a new page, or false at a limit.
func (s *Server) issueBootstrap(u *serverUser) (token, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireBootstraps()
	a := s.account(u.Name)
	defer s.release(u.Name, a)
	if !mayHave(a.bootstraps, len(s.queue), s.limits.Bootstraps) || !a.pages.allow() || !s.pages.allow() {
		return token{}, false
	}
	a.bootstraps++
	b := &bootstrap{token: s.key.issue(bootstrapToken), user: u, expires: time.Now().Add(bootstrapLife)}
	s.bootstraps[b.token] = b
	s.queue = append(s.queue, b)
	return b.token, true
}

// expireBootstraps removes the tokens whose time is over. The caller holds s.mu.
func (s *Server) expireBootstraps() {
	now := time.Now()
	for len(s.queue) > 0 && !now.Before(s.queue[0].expires) {
		b := s.queue[0]
		delete(s.bootstraps, b.token)
		a := s.account(b.user.Name)
		a.bootstraps--
		s.release(b.user.Name, a)
		s.queue[0] = nil
		s.queue = s.queue[1:]
	}
}

// errFull means that there are too many sessions.
var errFull = errors.New("too many sessions")

// start returns the session of a page's token, which it makes if there is none. It
// returns nil if the token is not valid, and errFull at a limit.
func (s *Server) start(t token, r *http.Request) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireBootstraps()
	b := s.bootstraps[t]
	if b == nil || !s.current(b.user) || b.session == nil && s.draining.Load() {
		return nil, nil
	}
	if b.session != nil {
		if s.sessions[b.session.token] != b.session {
			return nil, nil
		}
		return b.session, nil
	}
	a := s.account(b.user.Name)
	if !mayHave(a.sessions, len(s.sessions), s.limits.Sessions) || !a.starts.allow() || !s.starts.allow() {
		return nil, errFull
	}
	session := &session{
		mux: newMux(Relay, b.user.Carrier), server: s, token: s.key.issue(sessionToken),
		user: b.user, carrier: b.user.Carrier, addr: s.addrOf(r),
	}
	session.state.greeted = true // the request is HELLO
	a.sessions++
	session.account, session.readBy, session.sentTo = a, &a.up, &a.down
	session.accept = func(c *Conn) bool {
		c.user, c.account, c.local, c.remote = session.user, a, s.Addr(), session.addr
		return s.open(c)
	}
	session.expiry = time.AfterFunc(reconnectGrace, func() { session.expire() })
	s.sessions[session.token] = session
	b.session = session
	return session, nil
}

// addrOf returns the address of a request's client.
func (s *Server) addrOf(r *http.Request) net.Addr {
	var addr netip.Addr
	if s.clientAddr != nil {
		addr = s.clientAddr(r)
	} else if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		addr = peer.Addr()
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr.Unmap(), 0))
}

// find returns the session with a token, or nil.
func (s *Server) find(t token) *session {
	if !s.key.verify(t, sessionToken) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[t]
}

// begin notes a request of the session. The caller calls done at its end.
func (s *session) begin() (done func()) {
	s.activity.Lock()
	defer s.activity.Unlock()
	return s.beginLocked()
}

// beginUnlessCrowded is begin, unless the session has more requests under way than its
// streams may have: each an upload and a poll, and the same again where a network was lost,
// which package http notices late. Then it returns nil. Requests that wait, for a body or
// for a lane, take memory.
func (s *session) beginUnlessCrowded() (done func()) {
	s.activity.Lock()
	defer s.activity.Unlock()
	if s.requests >= 8*s.server.limits.SessionStreams+64 {
		return nil
	}
	return s.beginLocked()
}

// beginLocked is begin under activity.
func (s *session) beginLocked() (done func()) {
	s.requests++
	s.expiry.Stop()
	return func() {
		s.activity.Lock()
		defer s.activity.Unlock()
		if s.requests--; s.requests == 0 {
			s.expiry.Reset(reconnectGrace)
		}
	}
}

// expire ends the session unless there is a request.
func (s *session) expire() {
	s.activity.Lock()
	idle := s.requests == 0
	s.activity.Unlock()
	if idle {
		s.end(errExpired)
	}
}

// end ends the session, for a cause that is logged, or nil.
func (s *session) end(cause error) {
	s.mux.end(ErrSessionEnded)
	s.activity.Lock()
	s.expiry.Stop()
	s.activity.Unlock()
	s.server.mu.Lock()
	_, first := s.server.sessions[s.token]
	delete(s.server.sessions, s.token)
	if first {
		s.account.sessions--
		s.server.release(s.user.Name, s.account)
	}
	s.server.mu.Unlock()
	if first && cause != nil {
		s.server.log.Info("WEB session ended", "user", s.user.Name, "carrier", s.carrier.String(), "client", s.addr.String(), "err", cause)
	}
}

// delete ends the session at its client's request, which may be repeated for two
// minutes.
func (s *session) delete() {
	server := s.server
	server.mu.Lock()
	server.deleted[s.token] = struct{}{}
	server.mu.Unlock()
	time.AfterFunc(reconnectGrace, func() {
		server.mu.Lock()
		delete(server.deleted, s.token)
		server.mu.Unlock()
	})
	s.end(nil)
}
