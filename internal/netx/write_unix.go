//go:build unix

package netx

import (
	"net"
	"syscall"
)

// tryWrite writes as much of b to a socket as that has room for, and returns how much
// that is. Other connections, and those that have failed, take nothing.
func tryWrite(conn net.Conn, b []byte) (n int) {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return 0
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil || len(b) == 0 {
		return 0
	}
	err = raw.Write(func(fd uintptr) (done bool) {
		for {
			if n, err = syscall.Write(int(fd), b); err != syscall.EINTR {
				return true
			}
		}
	})
	return max(n, 0)
}
