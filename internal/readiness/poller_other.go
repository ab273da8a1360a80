//go:build !linux

package readiness

import (
	"errors"
	"net"
)

// Poller is not available on this system.
type Poller struct{}

// Watch is a socket in a Poller.
type Watch struct{}

// New returns errors.ErrUnsupported.
func New() (*Poller, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Poller) Close() error { return nil }

// Watch returns nil.
func (*Poller) Watch(net.Conn, func()) *Watch { return nil }

// Stop does nothing.
func (*Watch) Stop() {}

// Readable returns true.
func (*Watch) Readable() bool { return true }
