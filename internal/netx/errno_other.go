//go:build !windows

package netx

// systemErrno is empty: sockets return the constants of package syscall.
var systemErrno map[error]error
