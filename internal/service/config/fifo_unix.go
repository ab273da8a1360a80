//go:build unix

package config

import (
	"errors"
	"syscall"
)

// openNow has the open of a FIFO return before it has a writer.
const openNow = syscall.O_NONBLOCK

// isAgain reports whether err means that there is nothing to read yet.
func isAgain(err error) bool { return errors.Is(err, syscall.EAGAIN) }
