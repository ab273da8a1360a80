package splice

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// broken waits until the source, which is at its end, has an error, and returns
// it. It returns nil when its deadline has come, or when the socket is closed
// both ways.
func (d *direction) waitReset() (err error) {
	d.src.Read(func(fd uintptr) bool {
		// The runtime's poller wakes us on an error. To ask for it with
		// poll(2) takes it away from nobody.
		state := []unix.PollFd{{Fd: int32(fd)}}
		for {
			if _, failed := unix.Poll(state, 0); failed != unix.EINTR {
				break
			}
		}
		switch {
		case state[0].Revents&unix.POLLERR != 0:
			code, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
			if code != 0 { // else a write has got it
				err = spliceError(d.flow.Src, syscall.Errno(code))
			}
			return true
		case state[0].Revents&unix.POLLHUP != 0:
			return true
		}
		return false
	})
	return err
}
