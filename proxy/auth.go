package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/keysearch"
	"github.com/mtwire/mtwire/mtproxy"
)

// errMode means that a client has a secret and may not use it in its mode.
var errMode = errors.New("the secret, or the proxy, does not allow this mode")

// authentication is a session as the handshake.Auth of its client, with the users
// as they were when the client's first byte came.
type authentication struct {
	*session
	endHandshake context.CancelCauseFunc
	stream       WebStream     // nil unless the client is in one of a relay
	users        *snapshot     // since the client's first byte
	secrets      []userSecret  // of them, or of a stream; set before found is
	found        int           // by the last Find that found a secret
	refused      error         // by the policy, in the last Find
	refusals     refusals      // of the policy, in all of them
	mode         mtproxy.Modes // the client's, once Allow was called
	askedAddress bool          // permit was called; forbidden is its result
	forbidden    error
}

// Find searches for the client's secret. If that takes long, the fronting host gets
// what the client has sent meanwhile, so that the host's answer is as early as
// without the search, or comes at its end.
//
// A hello that is longer than those of Telegram's clients is left to the host if
// the host acts before the search ends. Otherwise the time of the answer would tell
// the number of secrets, the more clearly the longer the hello.
//
// A secret whose user the policy refuses is none: see keysearch.Query.Refused.
func (a *authentication) Find(ctx context.Context, q handshake.Query, try func(*mtproxy.KeySet) int) (index int, err error) {
	a.setClass(admission.Complete)
	if a.stream != nil {
		return a.findWeb(ctx, a.stream, try)
	}
	a.secrets = a.users.secrets
	query := keysearch.Query{FakeTLS: q.FakeTLS, ServerName: q.ServerName, Length: q.Length}
	if q.First != nil {
		var stop func()
		query.Slow = func() { stop = a.beginSlowSearch(q) }
		defer func() {
			if stop != nil {
				stop()
			}
			if a.mirror != nil && err != nil {
				a.mirror.release()
			}
		}()
	}
	if err := a.permit(); err != nil {
		return -1, err
	}
	if a.refused = nil; a.proxy.config.Policy != nil {
		query.Refused = func(index int) bool { return !a.admit(ctx, index) }
	}
	index, outcome := a.proxy.search.Find(ctx, a.users.index, a.clientAddr(), query, try)
	switch {
	case outcome == keysearch.Found:
		a.found = index
		return index, nil
	case outcome == keysearch.Canceled:
		return -1, ctx.Err()
	case a.refused != nil:
		return -1, &refusal{a.refused}
	case outcome == keysearch.NoMatch:
		return -1, handshake.ErrNoMatch
	}
	if !a.searchSkipped { // a FakeTLS hello may be searched for as an init payload as well
		a.searchSkipped = true
		a.proxy.counters.searchesSkipped.Add(1)
		a.proxy.trace.searchSkipped(a.session)
	}
	return -1, handshake.ErrNotSearched
}

// permit returns an error if no client may be authenticated from the session's address.
// It asks once, and before the search, which a client that is blocked cannot make work
// for the proxy.
func (a *authentication) permit() error {
	if a.proxy.config.Permit == nil {
		return nil
	}
	if !a.askedAddress {
		a.askedAddress = true
		if err := a.proxy.config.Permit(a.clientAddr()); err != nil {
			a.forbidden = &refusal{err}
			a.proxy.counters.refusedAddress.Add(1)
		}
	}
	return a.forbidden
}

// refusal is the error for a client that may not be authenticated from its address, or
// with a secret that the policy does not admit.
type refusal struct{ cause error }

func (r *refusal) Error() string { return r.cause.Error() }

// Unwrap returns the policy's error, and that of a client without a secret.
func (r *refusal) Unwrap() []error { return []error{r.cause, handshake.ErrNoMatch} }

// refusals are the policy's answers about the secrets of a snapshot, by index. A search
// may meet a key several times: among those of the client's address, and among all.
type refusals struct {
	users  *snapshot
	causes map[int]error
}

// of returns why the secret at index was refused, or nil.
func (r *refusals) of(users *snapshot, index int) error {
	if r.users != users {
		return nil
	}
	return r.causes[index]
}

// add stores why the secret at index was refused.
func (r *refusals) add(users *snapshot, index int, cause error) {
	if r.users != users {
		*r = refusals{users, make(map[int]error)}
	}
	r.causes[index] = cause
}

// admit asks the policy about a client that has the secret at index, and notes the
// account. If the policy refuses the client, it has no user, and the policy is not asked
// about the secret again.
func (a *authentication) admit(ctx context.Context, index int) bool {
	if cause := a.refusals.of(a.users, index); cause != nil {
		a.refused = cause
		return false
	}
	a.withdraw() // a user with the same key
	a.assign(&a.secrets[index], 0)
	account, err := a.proxy.config.Policy.Admit(ctx, a.session)
	if err == nil {
		a.account = account
		return true
	}
	a.refused = err
	a.refusals.add(a.users, index, err)
	if ctx.Err() == nil {
		a.proxy.counters.refused.Add(1)
		a.proxy.trace.refused(a.session, err)
	}
	a.withdraw()
	return false
}

// withdraw undoes admit for a client that is not authenticated after all. Its session
// ends as every other one without a user, and counts for none.
func (s *session) withdraw() {
	if s.user.Load() == nil {
		return
	}
	account := s.account
	s.account = nil
	r := s.Report()
	s.mu.Lock()
	s.secret, s.mode = mtproxy.Secret{}, 0
	s.user.Store(nil)
	s.mu.Unlock()
	if account != nil {
		account.Done(r)
	}
}

// beginSlowSearch is called before a search that takes long, for a client to which
// nothing was answered. It forwards what the client has sent to the fronting host, and
// ends the handshake, and so the search, when the client leaves. stop, if it is not
// nil, ends the latter.
func (a *authentication) beginSlowSearch(q handshake.Query) (stop func()) {
	switch m := a.mirror; {
	case m == nil || a.users.settings.Web.names(q.ServerName):
	case q.Length > keysearch.UsualLength:
		m.ask(q.First)
	default:
		m.hold(q.First)
	}
	// A client that has sent packets as well may have ended its stream behind them.
	halfClose := len(q.First) == q.Length
	stop, _ = a.proxy.relaying.Poller.AwaitEnd(a.socket, halfClose, func() { a.endHandshake(errClientGone) })
	return stop
}

// Allow refuses modes that the secret or the proxy does not allow. A client that is
// allowed is not pending any more.
func (a *authentication) Allow(t detect.Transport, index int) error {
	a.mode = modeOf(t)
	if a.stream != nil {
		if a.stream.Secret().Mode == mtproxy.Padded && a.mode != mtproxy.DD {
			a.mode = 0
		} else {
			a.mode = mtproxy.Web
		}
	}
	if a.mode&a.secrets[index].modes == 0 {
		a.proxy.counters.refusedMode.Add(1)
		return fmt.Errorf("%v: %w", a.mode, errMode)
	}
	a.proxy.pending.Leave(&a.pending)
	return nil
}

// Replayed reports whether the handshake was seen before.
func (a *authentication) Replayed(id [16]byte) bool { return a.proxy.config.Replay.Seen(id) }

// ServerHello returns the shape of the fronting host's own answer, unless that
// cannot be imitated: then the client gets it from the host. It is called when a
// hello is accepted, so the client's user is known from here on, and the host is
// not needed. Until the init payload comes, the connection is pending, and makes
// room after those of clients that have shown no secret.
func (a *authentication) ServerHello(hello *faketls.ClientHello) (faketls.ServerHelloShape, time.Duration, error) {
	shape, err := a.proxy.fronts.ServerHello(hello)
	if err != nil {
		return faketls.ServerHelloShape{}, 0, err
	}
	a.setUser(a.found, mtproxy.EE)
	a.reach(ServerHelloSent)
	a.records = a.proxy.framings.of(a.proxy.fronts.Records(hello.SNI))
	if host := a.stopMirror(); host != nil {
		host.Close()
		a.proxy.fronted.Leave(&a.fronted)
	}
	a.proxy.pending.Move(&a.pending, admission.HelloAnswered)
	if a.proxy.fronts.Empty() {
		return faketls.ServerHelloShape{}, 0, nil
	}
	return shape, a.proxy.fronts.Patience(hello.SNI), nil
}

// Undecided forwards what the client has sent to its fronting host.
func (a *authentication) Undecided(first []byte) {
	if a.mirror != nil {
		a.mirror.update(first)
	}
}

// modeOf returns the mode that a client used.
func modeOf(t detect.Transport) mtproxy.Modes {
	switch {
	case t.FakeTLS:
		return mtproxy.EE
	case t.Protocol == frame.PaddedIntermediate:
		return mtproxy.DD
	}
	return mtproxy.Classic
}

// setUser makes the session that of the user with the secret at index, unless the
// secret was removed since the client's first byte.
func (a *authentication) setUser(index int, mode mtproxy.Modes) {
	s := a.session
	s.assign(&a.secrets[index], mode)
	// SetUsers checks all sessions with a user after it has replaced the users. So
	// one of the two sees the other's change.
	if s.proxy.users.Load() != a.users {
		s.checkUser()
	}
}

// assign notes the client's secret and its user.
func (s *session) assign(secret *userSecret, mode mtproxy.Modes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret, s.mode = secret.secret(), mode
	s.user.Store(secret.user)
}

// checkUser keeps s if its user still has its secret, and closes it otherwise.
func (s *session) checkUser() {
	if !s.updateUser() {
		s.Close(errUserGone)
	}
}

// updateUser replaces the session's user by the one of the same name in the newest
// snapshot. It returns false if that is none, or does not have the session's secret
// and ad tag.
func (s *session) updateUser() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	user := s.user.Load()
	if user == nil {
		return true
	}
	now := s.proxy.users.Load().users[user.Name] // under mu, so that no other call has a newer one
	if now == nil || !now.has(s.secret) || !bytes.Equal(now.AdTag, user.AdTag) {
		return false
	}
	s.user.Store(now)
	return true
}
