//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package service

import (
	"errors"
	"net"
	"syscall"
)

// shareListener returns ln, which listens with SO_REUSEPORT: here it cannot hand over.
func shareListener(ln net.Listener) net.Listener { return ln }

// unshared returns ln.
func unshared(ln net.Listener) net.Listener { return ln }

// setShared would allow others to listen on the port of ln, which listens already: here
// it is an error.
func setShared(net.Listener, bool) error { return errors.ErrUnsupported }

func sharePort(string, string, syscall.RawConn) error {
	return errors.New("this system has no SO_REUSEPORT: leave out --reuse-port")
}
