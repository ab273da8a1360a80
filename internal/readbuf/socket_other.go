//go:build !unix

package readbuf

import "errors"

// Without Unix's system calls a socket is read like any other connection.
const canReadSocket = false

var errWouldBlock = errors.ErrUnsupported

func readSocket(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

type waiter struct{}

func (*waiter) ready(uintptr) bool { return true }
