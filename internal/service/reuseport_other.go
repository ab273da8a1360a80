//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package service

import (
	"errors"
	"net"
	"syscall"
)

// divertsConnections reports whether divert has an effect on this system.
const divertsConnections = false

func divert(net.Listener) error { return nil }

func undivert(net.Listener) error { return nil }

func sharePort(string, string, syscall.RawConn) error {
	return errors.New("this system has no SO_REUSEPORT: leave out --reuse-port")
}
