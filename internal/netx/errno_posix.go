//go:build !plan9

package netx

import "syscall"

// Errors of the system for IsErrno: constants of package syscall, which does not have
// all of them on every system.
const (
	EACCES        = syscall.EACCES
	EADDRINUSE    = syscall.EADDRINUSE
	EADDRNOTAVAIL = syscall.EADDRNOTAVAIL
	ECONNABORTED  = syscall.ECONNABORTED
	ECONNREFUSED  = syscall.ECONNREFUSED
	ECONNRESET    = syscall.ECONNRESET
	EHOSTUNREACH  = syscall.EHOSTUNREACH
	EINVAL        = syscall.EINVAL
	EMFILE        = syscall.EMFILE
	ENETUNREACH   = syscall.ENETUNREACH
	ENFILE        = syscall.ENFILE
	ENOBUFS       = syscall.ENOBUFS
	ENOMEM        = syscall.ENOMEM
	ENOSPC        = syscall.ENOSPC
	EPIPE         = syscall.EPIPE
)

// Errno is an error of the system.
type Errno = syscall.Errno
