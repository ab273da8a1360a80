//go:build unix

package readbuf

import (
	"syscall"

	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

const canReadSocket = true

var errWouldBlock error = syscall.EAGAIN

// readSocket reads once from a non-blocking socket.
func readSocket(fd uintptr, p []byte) (int, error) { return netx.ReadSocket(fd, p) }

// waiter polls a socket for readability. fds is a field because a local variable
// would escape to the heap.
type waiter struct{ fds [1]unix.PollFd }

// ready reports whether the socket is readable. RawConn.Read calls it before and
// after it waits for readiness. An error counts as readable: the read that follows
// returns it.
func (w *waiter) ready(fd uintptr) bool {
	w.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := unix.Poll(w.fds[:], 0)
	return n != 0 || err != nil
}
