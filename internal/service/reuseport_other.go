//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package service

import (
	"errors"
	"net"
	"syscall"
)

// shareListener returns ln, which listens with SO_REUSEPORT: here it cannot hand over.
func shareListener(ln net.Listener) net.Listener { return ln }

func sharePort(string, string, syscall.RawConn) error {
	return errors.New("this system has no SO_REUSEPORT: leave out --reuse-port")
}
