//go:build unix

package readbuf

import (
	"io"
	"syscall"
)

const canReadSocket = true

var errWouldBlock error = syscall.EAGAIN

// readSocket reads once from a non-blocking socket.
func readSocket(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
