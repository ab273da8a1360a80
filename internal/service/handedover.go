package service

import (
	"errors"
	"net"
	"os"

	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// Listeners of an upgrade: two processes have descriptors of one socket. So the old one
// closes its descriptor and nothing else, and the new one, with the last descriptor, does
// what the listener's end is.

// leaver is a listener whose Close does more than to close the descriptor, unless leave was
// called.
type leaver interface{ leave() }

// closeHere closes a listener whose socket another process has as well.
func closeHere(ln net.Listener) {
	leaveElsewhere(ln)
	ln.Close()
}

func closeAllHere[L net.Listener](listeners []L) {
	for _, ln := range listeners {
		closeHere(ln)
	}
}

// leaveElsewhere has the Close of ln close the descriptor alone.
func leaveElsewhere(ln net.Listener) {
	if l, ok := ln.(*listener); ok {
		ln = l.Listener
	}
	switch ln := ln.(type) {
	case leaver:
		ln.leave()
	case interface{ SetUnlinkOnClose(bool) }:
		ln.SetUnlinkOnClose(false)
	}
}

// handedOver returns the listener that the process before had at an address, nil if there
// is none.
func (c *Config) handedOver(use upgrade.Use, address ListenAddress) net.Listener {
	if ln := c.Takeover.Listener(use, address.String()); ln != nil {
		return c.wrapHandedOver(ln)
	}
	return nil
}

// wrapHandedOver returns a listener of another process as one that this process made.
func (c *Config) wrapHandedOver(ln net.Listener) net.Listener {
	switch socket := ln.(type) {
	case *net.UnixListener:
		path := socket.Addr().String()
		if shared, err := c.shareUnix(socket, path); err == nil {
			return shared
		}
		if ln, ok := ln.(interface{ SetUnlinkOnClose(bool) }); ok {
			ln.SetUnlinkOnClose(true)
		}
		return ln
	}
	if c.ReusePort {
		return shareListener(ln)
	}
	return ln
}

var errNotShared = errors.New("other processes may not take the socket's name")

// shareUnix returns a Unix socket that was handed over as one whose name other processes
// may take, if they may.
func (c *Config) shareUnix(socket *net.UnixListener, path string) (net.Listener, error) {
	if !c.ReusePort {
		return nil, errNotShared
	}
	lock, _, err := shareLock(path + lockSuffix)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &sharedUnixListener{UnixListener: socket, path: path, info: info, lock: lock}, nil
}
