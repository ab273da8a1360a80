package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/splice"
)

// ErrNotAdopted means that the state is that of no session of this proxy.
var ErrNotAdopted = errors.New("proxy: the session cannot go on here")

// ErrNotAdmitted means that a session may not go on: its user is gone, or has another secret
// or ad tag, or the policy does not admit it.
var ErrNotAdmitted = errors.New("proxy: the session may not go on")

// Adopted is a session of another process, which has its user's account and moves no
// bytes yet. One of Start and Drop must be called.
type Adopted struct {
	session    *session
	up, down   splice.FlowState
	unanswered time.Duration
}

// Adopt takes a session over that is suspended in another process. It reads and writes
// nothing yet: Start does, once the other process has given the session up. client and
// upstream are its sockets, which the session owns if Adopt returns no error. Adopt keeps
// nothing of the state, which remains the caller's, but for its strings.
//
// A session that the user's limits do not admit is adopted all the same if Config.Policy
// is an Adopter, and otherwise refused. Errors wrap ErrNotAdopted, ErrNotAdmitted or
// ErrStopped.
func (p *Proxy) Adopt(state *SessionState, client, upstream net.Conn) (*Adopted, error) {
	if err := p.start(); err != nil { // which makes the poller
		return nil, err
	}
	defer p.serving.Done()
	s := &session{proxy: p, id: p.lastID.Add(1), socket: client, start: time.Now().Add(-state.Age)}
	if err := s.restore(state); err != nil {
		return nil, err
	}
	s.upstream.Via, s.upstream.Address, s.upstream.conn = state.Upstream, state.Address, upstream
	if err := s.adoptAccount(); err != nil {
		return nil, err
	}
	if !p.insert(s) {
		s.dropAccount()
		return nil, ErrStopped
	}
	s.checkUser() // SetUsers may not have seen it
	liveness := p.settings().liveness
	netx.SetLiveness(client, liveness)
	netx.SetLiveness(upstream, netx.Liveness{UserTimeout: liveness.UserTimeout})
	a := &Adopted{
		session: s, unanswered: state.Unanswered,
		up:   splice.FlowState{Bytes: state.Up.Bytes, Ended: state.Up.Ended, Inspected: true},
		down: splice.FlowState{Bytes: state.Down.Bytes, Ended: state.Down.Ended, Inspected: s.first == nil},
	}
	if state.RecordLengths != nil {
		a.down.Bodies = state.RecordLengths.Sent
	}
	return a, nil
}

// restore sets what the state has of the session.
func (s *session) restore(state *SessionState) error {
	user := s.proxy.users.Load().users[state.User]
	if user == nil {
		return fmt.Errorf("%w: %w", ErrNotAdmitted, errUserGone)
	}
	found := false
	for _, secret := range user.Secrets {
		if secretID(secret, user.AdTag) == state.Secret {
			s.secret, found = secret, true
		}
	}
	switch {
	case !found:
		return fmt.Errorf("%w: %w", ErrNotAdmitted, errUserGone)
	case state.Stage < Dialled || state.Stage > FirstByteDown || state.Up.Ended && state.Down.Ended || !state.RecordLengths.valid():
		return ErrNotAdopted
	}
	s.user.Store(user)
	s.stage.Store(uint32(state.Stage))
	s.mode, s.protocol, s.dc, s.source = state.Mode, state.Protocol, state.DC, state.Client
	s.last.Store(int64(state.Last))
	s.transportError.Store(state.TransportError)
	s.dataCenter, s.dialled = s.proxy.dataCenters.of(s.dc), s.proxy.dataCenters.now()
	s.before = adoptedBytes{true, state.Up.Bytes, state.Down.Bytes}
	s.up = reencrypter{receive: state.Receive, send: state.Send}
	if state.Records != nil {
		records := *state.Records
		s.up.records = &records
	}
	if state.DownReceive != nil && state.DownSend != nil {
		s.down = &reencrypter{receive: *state.DownReceive, send: *state.DownSend}
		if state.Down.Bytes == 0 {
			s.down.watch = s.checkAnswer
		}
	}
	if lengths := state.RecordLengths; lengths != nil {
		s.records = s.proxy.framings.of(fronting.Records{Tickets: lengths.Tickets, Ramp: lengths.Ramp, Max: lengths.Max})
	}
	if first := state.FirstPackets; first != nil {
		s.first = s.newScanner(first.Download)
		s.first.offset, s.first.payloads, s.first.rest = first.Offset, first.Payloads, slices.Clone(first.Rest)
	}
	return nil
}

// adoptAccount has the policy know the session.
func (s *session) adoptAccount() (err error) {
	policy := s.proxy.config.Policy
	if policy == nil {
		return nil
	}
	admit := policy.Admit
	if adopter, ok := policy.(Adopter); ok {
		admit = adopter.Adopt
	}
	if s.account, err = admit(context.Background(), s); err != nil {
		err = fmt.Errorf("%w: %w", ErrNotAdmitted, err)
	}
	return err
}

// dropAccount gives the account back.
func (s *session) dropAccount() {
	if s.account != nil {
		s.account.Done(s.Report())
	}
}

// insert is add for a session that was accepted elsewhere.
func (p *Proxy) insert(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sealed {
		return false
	}
	p.memory.changed(p.counters.open.Add(1))
	p.sessions[s] = struct{}{}
	p.ending.Add(1)
	return true
}

// Start has the session go on.
func (a *Adopted) Start() {
	s := a.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proxy.counters.relaying.Add(1)
	up, down := s.flows(s.socket)
	s.pair = splice.Continue(up, down, a.up, a.down, s.proxy.relay.Load(), s.relayed)
	if s.closed != nil {
		s.pair.Abort(s.closed)
		return
	}
	if a.unanswered > 0 {
		s.stall.since.Store(int64(a.unanswered))
		s.armStall()
	}
}

// Drop ends the session here, as it goes on in the other process: it is not counted and
// traced.
func (a *Adopted) Drop() {
	s := a.session
	s.socket.Close()
	s.upstream.conn.Close()
	s.dropAccount()
	s.forget(nil)
}

// forget removes a session that has not ended. What it has moved until r, if that is not
// nil, stays in the sums.
func (s *session) forget(r *Report) {
	p := s.proxy
	p.mu.Lock()
	delete(p.sessions, s)
	if r != nil {
		p.ended.add(*r, s.before, p.users.Load())
	}
	p.mu.Unlock()
	p.memory.changed(p.counters.open.Add(-1))
	p.ending.Done()
}
