package splice

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that do not wait, and of which the scheduler is not told, as those of
// package netx. A call that waited would stop all goroutines at the next collection of
// garbage. splice(2) has no flag like MSG_DONTWAIT for its socket, see canSpliceRaw.

// rawReadv is readv(2), as recvmsg(2). It fills up to readvBodies bodies, none empty.
func rawReadv(fd uintptr, bodies [][]byte) (n int, errno syscall.Errno) {
	var vector [readvBodies]unix.Iovec
	for i, body := range bodies {
		vector[i].Base = &body[0]
		vector[i].SetLen(len(body))
	}
	message := unix.Msghdr{Iov: &vector[0]}
	message.SetIovlen(len(bodies))
	for {
		r, _, errno := syscall.RawSyscall6(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&message)), unix.MSG_DONTWAIT, 0, 0, 0)
		if errno != syscall.EINTR {
			return result(r, errno)
		}
	}
}

// rawSplice is splice(2). The socket must not block.
func rawSplice(from, to, n int) (moved int, errno syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), spliceFlags)
		if errno != syscall.EINTR {
			return result(r, errno)
		}
	}
}

// toldSplice is rawSplice for sockets that may block: the scheduler is told.
func toldSplice(from, to, n int) (moved int, errno syscall.Errno) {
	for {
		r, _, errno := syscall.Syscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), spliceFlags)
		if errno != syscall.EINTR {
			return result(r, errno)
		}
	}
}

const spliceFlags = unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE

// canSpliceRaw reports whether neither socket blocks. A duplicate of a socket's
// descriptor may have made it block, with (*os.File).Fd for example.
func canSpliceRaw(sockets ...syscall.RawConn) bool {
	for _, s := range sockets {
		flags := 0
		s.Control(func(fd uintptr) { flags, _ = unix.FcntlInt(fd, unix.F_GETFL, 0) })
		if flags&unix.O_NONBLOCK == 0 {
			return false
		}
	}
	return true
}

// pollEvents is epoll_wait(2) without waiting.
func pollEvents(fd uintptr, events []unix.EpollEvent) (n int, errno syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		if errno != syscall.EINTR {
			return result(r, errno)
		}
	}
}

// result is what a system call has returned. The calls are not made through a function
// of their own: the pointers in their arguments stay valid only in the call itself.
func result(r uintptr, errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// isSocketError reports whether errno is an error of the connection. The kernel
// reports such an error once. Any other may be a sandbox's, which refuses the call.
func isSocketError(err error) bool {
	switch err {
	case syscall.ECONNRESET, syscall.ECONNABORTED, syscall.ECONNREFUSED, syscall.EPIPE, syscall.ETIMEDOUT,
		syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENETUNREACH, syscall.ENETDOWN:
		return true
	}
	return false
}
