package netx

import "syscall"

// systemErrno has the error of a socket for a constant of package syscall.
//
// Specification: https://learn.microsoft.com/en-us/windows/win32/winsock/windows-sockets-error-codes-2
var systemErrno = map[error]error{
	syscall.EACCES:        syscall.Errno(10013),
	syscall.EINVAL:        syscall.Errno(10022),
	syscall.EMFILE:        syscall.Errno(10024),
	syscall.EADDRINUSE:    syscall.Errno(10048),
	syscall.EADDRNOTAVAIL: syscall.Errno(10049),
	syscall.ENETUNREACH:   syscall.Errno(10051),
	syscall.ECONNABORTED:  syscall.Errno(10053),
	syscall.ECONNRESET:    syscall.Errno(10054),
	syscall.ENOBUFS:       syscall.Errno(10055),
	syscall.ETIMEDOUT:     syscall.Errno(10060),
	syscall.ECONNREFUSED:  syscall.Errno(10061),
	syscall.EHOSTUNREACH:  syscall.Errno(10065),
	syscall.EPIPE:         syscall.Errno(10058), // WSAESHUTDOWN
}
