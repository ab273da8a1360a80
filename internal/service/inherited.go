package service

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/mtwire/mtwire/internal/netx"
)

// InheritedListeners returns listeners on the sockets that systemd, or a program like
// it, has passed to the process: those of LISTEN_FDS, in its order. They are for
// Config.Inherited, and those that it has kept since the process before for Config.Stored.
// The environment variables are gone afterwards, so a second call returns none.
//
// Specification: https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
func InheritedListeners() (listeners []net.Listener, stored map[string]net.Listener, err error) {
	stored = make(map[string]net.Listener)
	for i, file := range activation.Files(true) {
		ln, invalid := inheritedListener(file)
		file.Close() // ln has a descriptor of its own
		if isStoredName(file.Name()) {
			if invalid == nil && stored[file.Name()] == nil {
				stored[file.Name()] = ln
			} else if ln != nil {
				ln.Close()
			}
			continue // without it, its address is listened on anew
		}
		if invalid != nil && err == nil {
			err = fmt.Errorf("socket %d of LISTEN_FDS, %s: %w", i+1, file.Name(), invalid)
		}
		if invalid == nil {
			listeners = append(listeners, ln)
		}
	}
	if err != nil {
		closeAll(listeners)
		for _, ln := range stored {
			ln.Close()
		}
		return nil, nil, err
	}
	return listeners, stored, nil
}

func inheritedListener(file *os.File) (net.Listener, error) {
	if !isListening(file) {
		return nil, errors.New("it does not listen for connections: set ListenStream= and Accept=no in the socket unit")
	}
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	return netx.Sockets(ln), nil
}

// takeInherited removes a listener on address from inherited and returns it, nil if
// there is none: an address that is also configured is listened on once.
func takeInherited(inherited []net.Listener, address ListenAddress) (ln net.Listener, rest []net.Listener) {
	for i, ln := range inherited {
		if address.isOf(ln.Addr()) {
			return ln, append(append(rest, inherited[:i]...), inherited[i+1:]...)
		}
	}
	return nil, inherited
}

// isOf reports whether a listener at addr listens on a.
func (a ListenAddress) isOf(addr net.Addr) bool {
	if a.Network == "unix" {
		return addr.Network() == "unix" && addr.String() == a.Address
	}
	listening, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(a.Address)
	if err != nil {
		return false
	}
	if number, err := net.LookupPort("tcp", port); err != nil || number != int(listening.Port()) {
		return false
	}
	if host == "" {
		return listening.Addr().IsUnspecified()
	}
	own, err := netip.ParseAddr(host)
	return err == nil && own == listening.Addr()
}
