package netx

import (
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func setUserTimeout(conn tcpSocket, timeout time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	milliseconds := timeout.Milliseconds()
	if timeout%time.Millisecond > 0 {
		milliseconds++
	}
	var errno syscall.Errno
	failed := raw.Control(func(fd uintptr) {
		errno = setOptionNow(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(milliseconds, math.MaxInt32)))
	})
	if failed != nil || errno == 0 {
		return failed
	}
	return os.NewSyscallError("setsockopt", errno)
}
