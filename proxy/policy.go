package proxy

import (
	"context"
	"net/netip"
	"time"
)

// Direction is one of the two directions of a session.
type Direction uint8

// The directions.
const (
	Upload   Direction = iota // client to data centre
	Download                  // data centre to client
)

// String returns "upload" or "download".
func (d Direction) String() string {
	if d == Upload {
		return "upload"
	}
	return "download"
}

// Session is a client's connection that is open. Its methods may be called
// concurrently.
type Session interface {
	// ID is a number that no other session of the proxy has.
	ID() uint64
	// User returns the client's user, nil until the client has shown a secret. The
	// user after SetUsers is another one of the same name if something of it has
	// changed.
	User() *User
	// ClientAddr returns the client's address, that of Report.Client. An IPv4 address is
	// one. It is invalid if there is none, as of a client on a Unix socket.
	ClientAddr() netip.Addr
	// Report returns the session as it is now.
	Report() Report
	// Close ends the session; cause is the reason in its last Report. Nil means
	// net.ErrClosed.
	Close(cause error)
}

// Policy decides which clients are served, and how.
type Policy interface {
	// Admit is called when a client has shown a secret, before anything is answered to
	// it. s.User is the secret's user; the rest of s.Report is not known yet. An error
	// refuses the client: it is one without a secret, which is tunneled to its fronting
	// host. Neither the bytes nor the time of that tell that the secret exists. The
	// error is the cause in the session's last Report.
	//
	// A nil Account imposes no limits. Otherwise Account.Done is called, also if the
	// client turns out to be unauthenticated after all: its handshake may be a replay,
	// or incomplete.
	//
	// Admit is called once for a session, unless several of its users have the key, or
	// the users are replaced during the handshake. It must not wait: the key searches
	// of other clients do so too. ctx is for Admit alone, and ends if the session is
	// closed meanwhile.
	Admit(ctx context.Context, s Session) (Account, error)
}

// Adopter is a Policy that also knows sessions that another process has admitted: see
// Proxy.Adopt.
type Adopter interface {
	Policy
	// Adopt is Admit for such a session. It does not refuse it because of limits on the
	// number of sessions or addresses: those of the process that has it count as
	// admitted, also while it moves.
	Adopt(ctx context.Context, s Session) (Account, error)
}

// Account is the usage of one session. Its methods are called concurrently for
// the two directions.
type Account interface {
	// Moved is called with how many bytes were relayed, after each write. Record
	// headers do not count. Neither Moved nor Delay may block: other sessions wait
	// for them.
	Moved(d Direction, n int)

	// Delay is called after Moved and returns how long the direction pauses
	// before it reads on. n is the number of bytes since it last read, which may
	// be the sum of several Moved. A pause keeps the zero-copy path.
	//
	// It is called with 0 after each pause, which goes on for the result.
	Delay(d Direction, n int) time.Duration

	// Wait returns how long the session waits before the data centre is dialled, for what
	// other sessions have moved, and is called again after that. It must not block. What
	// the client has sent by then is moved without a pause, and counts in the next Delay.
	Wait() time.Duration

	// Done is called once, when the session has ended, or before if its client is not
	// authenticated: then Report.Stage is below Authenticated.
	Done(Report)
}

// Releaser is an Account that also knows that its session goes on in another process: see
// Suspended.Release.
type Releaser interface {
	Account
	// Released is called in place of Done.
	Released(Report)
}
