//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package service

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// shareListener returns ln, which listens with SO_REUSEPORT: here it cannot hand over.
func shareListener(ln net.Listener) net.Listener { return ln }

// unshared returns ln.
func unshared(ln net.Listener) net.Listener { return ln }

// setShared would allow others to listen on the port of ln, which listens already: here
// it is an error.
func setShared(net.Listener, bool) error { return errors.ErrUnsupported }

// sharePort sets SO_REUSEPORT. It is a function for net.ListenConfig.Control.
func sharePort(_, _ string, raw syscall.RawConn) error {
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failed
}
