package faketls

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrIncomplete says that more bytes are needed, and that those at hand
	// may still become what was asked for.
	ErrIncomplete = errors.New("faketls: incomplete")

	// ErrMalformed says that the bytes cannot be what was asked for, whatever
	// follows them.
	ErrMalformed = errors.New("faketls: malformed")

	// ErrNoMatch says that a hello is well formed but was made with none of
	// the keys. A browser, a scanner and a client with another secret look
	// like this to a server; a web site in place of the proxy looks like this
	// to a client.
	ErrNoMatch = errors.New("faketls: digest matches no key")

	// ErrStaleClock says that a hello was made with a key but at a time too
	// far from the server's.
	ErrStaleClock = errors.New("faketls: client clock is outside the window")

	// ErrWrongSNI says that a hello was made with a key but names a host that
	// ServerConfig.CheckSNI refused.
	ErrWrongSNI = errors.New("faketls: server name is not the secret's")

	// ErrReplay says that ServerConfig.Replay has seen the hello before.
	ErrReplay = errors.New("faketls: ClientHello was seen before")
)

// RejectError is returned by a server's handshake that did not accept the
// client. Nothing has been written to the client.
type RejectError struct {
	// Err says why: ErrMalformed, ErrNoMatch, ErrStaleClock, ErrWrongSNI or
	// ErrReplay, perhaps with detail around it; or what ended reading before
	// the hello was whole: io.EOF when the client sent nothing at all,
	// io.ErrUnexpectedEOF, or the connection's own error, a timeout for one.
	Err error

	// Received is all that was read from the client, and belongs to the
	// caller. It ends where the hello ends, or earlier.
	Received []byte

	// Info is what is known of the client. Its KeyIndex is -1 until a key
	// has matched.
	Info Info
}

// Error says why the client was refused.
func (e *RejectError) Error() string {
	return fmt.Sprintf("faketls: client refused after %d bytes: %s", len(e.Received),
		strings.TrimPrefix(e.Err.Error(), "faketls: "))
}

// Unwrap returns Err.
func (e *RejectError) Unwrap() error { return e.Err }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w %s", ErrMalformed, fmt.Sprintf(format, args...))
}
