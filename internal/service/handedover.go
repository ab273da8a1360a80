package service

import (
	"encoding"
	"net"
	"os"
	"slices"

	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// Listeners of an upgrade: two processes have descriptors of one socket. So the old one
// closes its descriptor and nothing else, and the new one, with the last descriptor, does
// what the listener's end is.

// leaver is a listener whose Close does more than to close the descriptor, unless another
// process has the socket as well.
type leaver interface{ leave(elsewhere bool) }

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
func leaveElsewhere(ln net.Listener) { setElsewhere(ln, true) }

func setElsewhere(ln net.Listener, elsewhere bool) {
	if l, ok := ln.(*listener); ok {
		ln = l.Listener
	}
	switch ln := ln.(type) {
	case leaver:
		ln.leave(elsewhere)
	case interface{ SetUnlinkOnClose(bool) }:
		ln.SetUnlinkOnClose(!elsewhere)
	}
}

// setElsewhere is about all listeners: whether those of the process before are still that
// one's, which goes on with them if this one fails.
func (s *Service) setElsewhere(elsewhere bool) {
	s.reloading.Lock() // which closes listeners
	defer s.reloading.Unlock()
	for _, l := range s.listeners.list() {
		setElsewhere(l.Listener, elsewhere || l.inherited) // whose files are systemd's
	}
	for _, l := range s.web.handed() {
		setElsewhere(l.Listener, elsewhere)
	}
	if s.admin != nil {
		for _, ln := range s.admin.listeners {
			setElsewhere(ln, elsewhere)
		}
	}
}

// unixListeners returns the listeners on Unix sockets, without those of systemd.
func (s *Service) unixListeners() (all []*unixListener) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	for _, l := range s.handedListeners() {
		if ln, ok := l.Listener.(*unixListener); ok && l.Use != upgrade.Inherited {
			all = append(all, ln)
		}
	}
	return all
}

// handedOver returns the listener that the process before had at an address, nil if there
// is none. It stays that one's until takeOver.
func (c *Config) handedOver(use upgrade.Use, address encoding.TextMarshaler) net.Listener {
	text, _ := address.MarshalText() // which never fails
	ln := c.Takeover.Listener(use, string(text))
	if ln == nil {
		return nil
	}
	ln = c.wrapHandedOver(ln)
	leaveElsewhere(ln)
	return ln
}

// unusedSockets returns the Unix sockets of the process before that this one does not listen
// on: they are not configured any more.
func (s *Service) unusedSockets() (unused []upgrade.Listener) {
	var used []os.FileInfo // and not names, of which a file may have several
	use := func(ln net.Listener) {
		if info, err := os.Lstat(ln.Addr().String()); err == nil {
			used = append(used, info)
		}
	}
	for _, l := range s.listeners.list() {
		use(l)
	}
	for _, l := range s.web.handed() {
		use(l)
	}
	if s.admin != nil {
		for _, ln := range s.admin.listeners {
			use(ln)
		}
	}
	for _, l := range s.takeover.UnixListeners() {
		ln := s.config.wrapHandedOver(l.Listener)
		leaveElsewhere(ln)
		info, err := os.Lstat(ln.Addr().String())
		isUsed := func(other os.FileInfo) bool { return os.SameFile(info, other) }
		if err == nil && slices.ContainsFunc(used, isUsed) { // by another socket, which has taken its name
			ln.Close()
			continue
		}
		l.Listener = ln
		unused = append(unused, l)
	}
	return unused
}

// closeUnused closes unusedSockets, and removes their files if the process before does not
// listen there any more. Until then connections to them wait.
func closeUnused(unused []upgrade.Listener, elsewhere bool) {
	for _, l := range unused {
		setElsewhere(l.Listener, elsewhere)
		l.Close()
	}
}

// wrapHandedOver returns a listener of another process as one that this process made.
func (c *Config) wrapHandedOver(ln net.Listener) net.Listener {
	switch socket := ln.(type) {
	case *net.UnixListener:
		return c.takeSocket(socket)
	}
	if c.ReusePort {
		return shareListener(ln)
	}
	return ln
}
