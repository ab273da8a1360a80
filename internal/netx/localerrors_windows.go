package netx

import "syscall"

// systemLocalErrors are WSAEMFILE and WSAENOBUFS.
//
// Specification: https://learn.microsoft.com/en-us/windows/win32/winsock/windows-sockets-error-codes-2
var systemLocalErrors = []error{syscall.Errno(10024), syscall.Errno(10055)}
