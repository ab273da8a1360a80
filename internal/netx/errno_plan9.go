package netx

import (
	"errors"
	"syscall"
)

// Errors of the system for IsErrno. Plan 9 has texts in place of numbers, so most of
// these occur nowhere.
var (
	EACCES        error = syscall.EACCES
	EADDRINUSE          = errors.New("address in use")
	EADDRNOTAVAIL       = errors.New("address not available")
	ECONNABORTED        = errors.New("connection aborted")
	ECONNREFUSED        = errors.New("connection refused")
	ECONNRESET          = errors.New("connection reset")
	EHOSTUNREACH        = errors.New("no route to host")
	EINVAL        error = syscall.EINVAL
	EMFILE        error = syscall.EMFILE
	ENETUNREACH         = errors.New("network is unreachable")
	ENFILE              = errors.New("file table overflow")
	ENOBUFS             = errors.New("no buffer space")
	ENOMEM              = errors.New("out of memory")
	ENOSPC              = errors.New("no space left")
	EPIPE               = errors.New("broken pipe")
)

// Errno is an error of the system.
type Errno = syscall.ErrorString
