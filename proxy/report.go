package proxy

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/mtproxy"
)

// Report describes a session, while it is open or at its end.
type Report struct {
	// Stage is how far the session has come. Fields below that belong to a later
	// stage are zero.
	Stage Stage

	// Client is the client's address, as "192.0.2.1:1234", "@" on a Unix socket.
	Client string

	// User and Mode are known from Authenticated on, and at ServerHelloSent.
	User *User
	Mode mtproxy.Modes

	// Protocol and DC are what the client asked for. From Authenticated on.
	Protocol frame.Protocol
	DC       datacenter.DC

	// Upstream is "direct" or the upstream without credentials, and Address the
	// data centre's address, or the upstream's if that is an MTProxy. From
	// Dialled on.
	Upstream, Address string

	// Front is the domain of the fronting host that an unauthenticated client
	// was tunneled to, "" if to none.
	Front string

	// Carrier means that the connection has carried streams of the web site's relay, which
	// are connections of their own and have the bytes. Front is the site then.
	Carrier bool

	// Up and Down are the bytes relayed, without record headers. Those of
	// unauthenticated clients are counted at the session's end.
	Up, Down int64

	// Duration is the session's age, at its end if it has ended, and Idle the time
	// since bytes moved until then.
	Duration, Idle time.Duration

	// TransportError is the first transport error that the data centre sent, as
	// a positive number, 0 if none.
	TransportError uint32

	// Err is what ended the session, nil if both sides ended their streams, or
	// if it is open. Its text does not have the client's address.
	Err error
}

// Report returns the session as it is now.
func (s *session) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report()
}

// report is Report. Under mu.
func (s *session) report() Report {
	r := Report{
		Stage:          Stage(s.stage.Load()),
		Client:         s.client(),
		Duration:       cmp.Or(s.duration, time.Since(s.start)),
		TransportError: s.transportError.Load(),
	}
	if s.unauthenticated != nil {
		r.Front, r.Carrier = s.tunnel.Domain, s.isCarrier()
	}
	if last := s.last.Load(); last != 0 && r.Stage >= Authenticated {
		r.Idle = r.Duration - time.Duration(last)
	}
	if r.Stage >= ServerHelloSent {
		r.User, r.Mode = s.user.Load(), s.mode
	}
	if r.Stage >= Authenticated {
		r.Protocol, r.DC = s.protocol, s.dc
	}
	if r.Stage >= Dialled {
		r.Upstream, r.Address = s.upstream.Via, s.upstream.Address
	}
	r.Up, r.Down = s.bytes()
	r.Err = s.err
	return r
}

// bytes returns how many bytes have moved. Under mu.
func (s *session) bytes() (up, down int64) {
	if s.pair != nil {
		up, down = s.pair.Moved()
		return up + s.early, down
	}
	if s.unauthenticated == nil { // the client is moved on
		return s.early, 0
	}
	return s.early + s.tunnel.Up, s.tunnel.Down
}

// cause is what ended the session: the cause given to Close, or else the errors
// of its directions.
func (s *session) cause(up, down splice.Result) error {
	err := errors.Join(up.Err, down.Err)
	if s.unauthenticated != nil {
		err = errors.Join(err, s.tunnelErr)
	}
	if s.closed != nil {
		err = s.closed // the others are its consequence
	}
	if err == nil {
		return nil
	}
	return &redactedError{err: err, client: s.client(), peer: s.socket.RemoteAddr().String()}
}

// redactedError is an error in one line, without the client's address.
type redactedError struct {
	err          error
	client, peer string // peer is the load balancer, if there is one
}

func (e *redactedError) Error() string {
	text := strings.ReplaceAll(e.err.Error(), "\n", "; ")
	for _, address := range []string{e.client, e.peer} {
		if address != "" && address != "@" { // the client of a Unix socket has none
			text = strings.ReplaceAll(text, address, "[client]")
		}
	}
	return text
}

func (e *redactedError) Unwrap() error { return e.err }
