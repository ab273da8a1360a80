package faketls

import (
	"errors"
	"fmt"
)

var (
	// ErrIncomplete means that the bytes are well formed so far and that more are
	// needed.
	ErrIncomplete = errors.New("faketls: incomplete")

	// ErrMalformed means that the bytes are not well formed, whatever follows.
	ErrMalformed = errors.New("faketls: malformed")

	// ErrNoMatch means that a hello is well formed and signed with none of the
	// keys. To a server, this is an unauthenticated client: a browser, a probe, a
	// client with another secret. To a client, it is a web site in place of the
	// proxy.
	ErrNoMatch = errors.New("faketls: digest matches no key")

	// ErrStaleClock means that a hello's time differs too much from the server's.
	ErrStaleClock = errors.New("faketls: client clock is outside the window")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w %s", ErrMalformed, fmt.Sprintf(format, args...))
}
