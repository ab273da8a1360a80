package proxy

import (
	"context"
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
	// Report returns the session as it is now.
	Report() Report
	// Close ends the session; cause is the reason in its last Report. Nil means
	// net.ErrClosed.
	Close(cause error)
}

// Policy decides which authenticated clients are served, and how.
type Policy interface {
	// Admit is called once for each session, after its client is authenticated
	// and before the data centre is dialled. An error ends the session, with it
	// as its cause. A nil Account imposes no limits. ctx is for Admit alone: it
	// ends if the session is closed meanwhile.
	Admit(ctx context.Context, s Session) (Account, error)
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
	Delay(d Direction, n int) time.Duration

	// Done is called once, when the session has ended.
	Done(Report)
}
