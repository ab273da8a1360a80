package config

import (
	"os"

	"golang.org/x/sys/unix"
)

// hasEnded reports whether a pipe has had a writer, and has neither one nor bytes any more. Linux
// tells a FIFO that has had none since it was opened from one whose writer has closed it.
func hasEnded(pipe *os.File) (ended bool) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return false
	}
	_ = conn.Control(func(fd uintptr) {
		state := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(state, 0); err == nil {
			ended = state[0].Revents == unix.POLLHUP
		}
	})
	return ended
}
