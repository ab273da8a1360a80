package faketls

import (
	"errors"
	"fmt"
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
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w %s", ErrMalformed, fmt.Sprintf(format, args...))
}
