package netx

import (
	"math"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

func setUserTimeout(conn *net.TCPConn, timeout time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	milliseconds := timeout.Milliseconds()
	if timeout%time.Millisecond > 0 {
		milliseconds++
	}
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(milliseconds, math.MaxInt32)))
	})
	if failed != nil {
		return failed
	}
	return err
}
