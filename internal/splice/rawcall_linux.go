package splice

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls on descriptors that do not block. The scheduler is not told of them:
// to hand the processor of a call to another goroutine pays for calls that wait, and
// costs short ones more than they take.

// rawRead is read(2). b must not be empty.
func rawRead(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return rawCall(unix.SYS_READ, fd, b)
}

// rawWrite is write(2). b must not be empty.
func rawWrite(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return rawCall(unix.SYS_WRITE, fd, b)
}

func rawCall(call, fd uintptr, b []byte) (n int, errno syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(r), 0
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

// pollEvents is epoll_wait(2) without waiting.
func pollEvents(fd uintptr, events []unix.EpollEvent) (n int, errno syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(r), 0
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}
