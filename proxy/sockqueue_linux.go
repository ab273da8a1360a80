package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// queuedBytes reports whether the kernel holds bytes of conn: received and not
// read, or written and not acknowledged.
func queuedBytes(conn net.Conn) bool { return queued(conn, unix.SIOCINQ, unix.SIOCOUTQ) }

// unreadBytes reports whether the kernel holds bytes of conn that were received and
// not read.
func unreadBytes(conn net.Conn) bool { return queued(conn, unix.SIOCINQ) }

// queued reports whether any of the queues of conn holds bytes.
func queued(conn net.Conn, queues ...uint) bool {
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
		for _, queue := range queues {
			if n, err := unix.IoctlGetInt(int(fd), queue); err == nil {
				held += n
			}
		}
	})
	return held > 0
}
