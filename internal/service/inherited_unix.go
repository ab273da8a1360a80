//go:build unix

package service

import (
	"os"
	"syscall"
)

// isListening reports whether a file is a socket that listens for connections.
func isListening(file *os.File) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	listening := 0
	if raw.Control(func(fd uintptr) {
		listening, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	}) != nil {
		return false
	}
	return err == nil && listening != 0
}
