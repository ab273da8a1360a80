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
func unacknowledged(conn net.Conn) (queued bool) {
	for {
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = below.NetConn()
	}
	raw := readbuf.RawConn(conn)
	if raw == nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.State == stateClosed {
			return // no TCP socket, or nothing is sent any more
		}
		n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		queued = err == nil && n > 0
	})
	return queued
}
