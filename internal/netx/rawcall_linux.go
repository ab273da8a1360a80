package netx

import (
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls on sockets that do not wait. The scheduler is not told of them: to hand
// the processor of a call to another goroutine pays for calls that wait, and costs
// short ones more than they take. It also wakes the scheduler's monitor, which then
// looks at an idle process every 20 µs.
//
// A call that waited would stop all goroutines at the next collection of garbage. So
// none relies on the socket being non-blocking: MSG_DONTWAIT holds for the one call.

// RecvNow is recv(2) without waiting. b must not be empty.
func RecvNow(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case syscall.EINTR:
		case 0:
			return int(r), 0
		default:
			return 0, errno
		}
	}
}

// SendNow is send(2) without waiting. b must not be empty.
func SendNow(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case syscall.EINTR:
		case 0:
			return int(r), 0
		default:
			return 0, errno
		}
	}
}

// ShutdownNow is shutdown(2) of the sending direction. It never waits.
func ShutdownNow(fd uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_SHUTDOWN, fd, unix.SHUT_WR, 0)
	return errno
}

// PollNow is poll(2) for events, without waiting. Errors and the end of both streams
// are always among the results.
func PollNow(fd uintptr, events int16) (ready int16, errno syscall.Errno) {
	state := unix.PollFd{Fd: int32(fd), Events: events}
	var now unix.Timespec
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&state)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != syscall.EINTR {
			return state.Revents, errno
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

// acceptNow is accept4(2) on a listener that does not block. The new socket does not
// block either, and child processes do not inherit it.
func acceptNow(fd uintptr, from *unix.RawSockaddrAny) (accepted int, errno syscall.Errno) {
	for {
		length := uint32(unix.SizeofSockaddrAny)
		r, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(&length)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if errno != syscall.EINTR && errno != syscall.ECONNABORTED { // it ended in the queue
			return result(r, errno)
		}
	}
}

// socketNow is socket(2) for a TCP socket that does not block.
func socketNow(family int) (fd int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	return result(r, errno)
}

// connectNow is connect(2) on a socket that does not block.
func connectNow(fd uintptr, to *unix.RawSockaddrAny, length uint32) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), uintptr(length))
	return errno
}

// nameNow is getsockname(2) or getpeername(2), as call says.
func nameNow(call, fd uintptr, name *unix.RawSockaddrAny) syscall.Errno {
	length := uint32(unix.SizeofSockaddrAny)
	_, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&length)))
	return errno
}

// setOptionNow is setsockopt(2) of an int.
func setOptionNow(fd uintptr, level, option, value int) syscall.Errno {
	v := int32(value)
	_, _, errno := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&v)), 4, 0)
	return errno
}

// optionNow is getsockopt(2) of an int.
func optionNow(fd uintptr, level, option int) (value int, errno syscall.Errno) {
	v, length := int32(0), uint32(4)
	_, _, errno = syscall.RawSyscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&length)), 0)
	return int(v), errno
}

// closeNow is close(2). A socket without a time to linger closes at once.
func closeNow(fd uintptr) { syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0) }

// ReadSocket reads once from a socket that does not block: it returns EAGAIN if there is
// nothing to read, and io.EOF at the end of the stream. p must not be empty. It uses
// recv(2), and read(2) if a sandbox refuses that.
func ReadSocket(fd uintptr, p []byte) (n int, err error) {
	n, errno := 0, syscall.ENOSYS
	if !raceDetector {
		n, errno = RecvNow(fd, p)
	}
	if isRefused(errno) {
		n, err = syscall.Read(int(fd), p)
		for err == syscall.EINTR {
			n, err = syscall.Read(int(fd), p)
		}
	} else if errno != 0 {
		err = errno
	}
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// WriteSocket writes once to a socket that does not block: it returns EAGAIN if the
// socket has no room. p must not be empty. It uses send(2), and write(2) if a sandbox
// refuses that.
func WriteSocket(fd uintptr, p []byte) (n int, err error) {
	n, errno := 0, syscall.ENOSYS
	if !raceDetector {
		n, errno = SendNow(fd, p)
	}
	switch {
	case errno == 0:
		return n, nil
	case !isRefused(errno):
		return 0, errno
	}
	n, err = syscall.Write(int(fd), p)
	for err == syscall.EINTR {
		n, err = syscall.Write(int(fd), p)
	}
	return max(n, 0), err
}

// isRefused reports whether errno may be a sandbox's, and is none of a connection.
func isRefused(errno syscall.Errno) bool {
	switch errno {
	case syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.EINVAL:
		return true
	}
	return false
}
