//go:build unix && !linux

package netx

import (
	"io"
	"syscall"
)

// ReadSocket is read(2), for which the socket must not block. It returns EAGAIN if
// there is nothing to read, and io.EOF at the end of the stream. p must not be empty.
func ReadSocket(fd uintptr, p []byte) (n int, err error) {
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

// WriteSocket is write(2), for which the socket must not block.
func WriteSocket(fd uintptr, p []byte) (n int, err error) {
	for {
		n, err := syscall.Write(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
