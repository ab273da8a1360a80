package netx

import (
	"errors"
	"slices"
	"strings"
)

// IsErrno reports whether err is one of the errors of the system in codes, which are
// constants of this package, those of package syscall. The errors of sockets on
// Windows differ from these: there, package syscall's constants are its own
// inventions, and no system call returns them.
//
// Of a lookup's errors those are recognised that IsLocal recognises.
func IsErrno(err error, codes ...error) bool {
	return slices.ContainsFunc(codes, func(code error) bool {
		return errors.Is(err, code) || systemErrno[code] != nil && errors.Is(err, systemErrno[code]) ||
			slices.Contains(localErrors, code) && failsLookup(err, code)
	})
}

// Readable returns err, with the text of package syscall's constant if the system has
// no text for its error but a number, as in "winapi error #10048". The result wraps
// err.
func Readable(err error) error {
	if err == nil || !strings.Contains(err.Error(), "winapi error #") {
		return err
	}
	for code := range systemErrno {
		if IsErrno(err, code) {
			return &readableError{code.Error(), err}
		}
	}
	return err
}

type readableError struct {
	text string
	err  error
}

func (e *readableError) Error() string { return e.text }

func (e *readableError) Unwrap() error { return e.err }
