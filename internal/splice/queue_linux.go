package splice

import (
	"net"

	"github.com/mtwire/mtwire/internal/readbuf"
	"golang.org/x/sys/unix"
)

// stateClosed is TCP_CLOSE: the socket has been reset, or both streams have ended.
const stateClosed = 7

// unacknowledged reports whether bytes have been written to conn, or to the TCP
// socket below it, that its peer has not acknowledged and still may.
func unacknowledged(conn net.Conn) (waiting bool) {
	control(conn, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.State == stateClosed {
			return // no TCP socket, or nothing is sent any more
		}
		n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		waiting = err == nil && n > 0
	})
	return waiting
}

// queued returns how many bytes have been written to conn, or to the socket below
// it, that its peer has not acknowledged; 0 if that is not known.
func queued(conn net.Conn) (n int) {
	control(conn, func(fd int) {
		n, _ = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	})
	return n
}

// control calls f with the socket of conn or below it, if there is one.
func control(conn net.Conn, f func(fd int)) {
	for {
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = below.NetConn()
	}
	if raw := readbuf.RawConn(conn); raw != nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
