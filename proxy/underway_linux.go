package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// underWay says whether the kernel holds bytes of conn: some that have come and
// were not read, or some that were written and have not arrived.
func underWay(conn net.Conn) bool {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	held := 0
	raw.Control(func(fd uintptr) {
		for _, queue := range []uint{unix.SIOCINQ, unix.SIOCOUTQ} {
			if n, err := unix.IoctlGetInt(int(fd), queue); err == nil {
				held += n
			}
		}
	})
	return held > 0
}
