package service

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// The store of systemd for descriptors: it keeps the listening sockets when the process has
// crashed, or is restarted, so that connections wait for the next one and none is refused.
// That gets them as those of LISTEN_FDS, with names that tell them from those of a socket
// unit.
//
// Specification: https://systemd.io/FILE_DESCRIPTOR_STORE/

const (
	// fdstoreVariable has the number of descriptors that systemd keeps.
	fdstoreVariable = "FDSTORE"
	// storedPrefix is the beginning of their names, which the name of a unit cannot have.
	storedPrefix = "mtwire="
)

// storesListeners reports whether systemd keeps listeners.
func storesListeners() bool {
	n := os.Getenv(fdstoreVariable)
	return n != "" && n != "0"
}

// storedName returns the name under which the listener of an address of the configuration is
// kept. A name may not have a colon.
func storedName(address string) string {
	sum := sha256.Sum256([]byte(address))
	return storedPrefix + hex.EncodeToString(sum[:8])
}

// storedListener returns the listener that systemd has kept of an address, nil for none.
func (c *Config) storedListener(address ListenAddress) net.Listener {
	name := storedName(address.String())
	ln := c.Stored[name]
	if ln == nil {
		return nil
	}
	if address.Network == "unix" {
		info, err := os.Lstat(address.Address)
		if err != nil || info.Mode().Type() != os.ModeSocket || c.ReusePort { // no client finds it any more
			return nil
		}
	}
	c.Stored[name] = nil // it is used
	return c.wrapHandedOver(ln)
}

// isStoredName reports whether a descriptor of LISTEN_FDS is one that was kept.
func isStoredName(name string) bool { return strings.HasPrefix(name, storedPrefix) }

// beginStore notes what systemd keeps when the process starts: what it has passed, or what
// the process before had it keep. Listeners that are not used are closed.
func (s *Service) beginStore() {
	s.stored = make(map[string]bool)
	for name, ln := range s.config.Stored {
		s.stored[name] = true
		if ln != nil {
			ln.Close()
		}
	}
	for _, address := range s.config.Takeover.Addresses(upgrade.Clients) {
		s.stored[storedName(address)] = true
	}
	s.config.Stored = nil
}

// storeDelay is the time until a process that has taken over is the service's main one,
// after it has everything: systemd takes no message of another.
const storeDelay = time.Second

// storeListeners has systemd keep the listeners that are configured, and no others. It does
// nothing if this process is not the main one. Under reloading.
func (s *Service) storeListeners() {
	if !storesListeners() || !s.isMain() {
		return
	}
	kept := make(map[string]bool)
	for _, l := range s.listeners.list() {
		socket, ok := l.Listener.(syscall.Conn)
		if !ok || l.inherited || l.address.Network == "unix" && s.config.ReusePort {
			continue
		}
		name := storedName(l.address.String())
		if kept[name] = true; !s.stored[name] {
			s.notifyWith(socket, "FDSTORE=1\nFDNAME=%s", name)
		}
	}
	for name := range s.stored {
		if !kept[name] {
			s.notify("FDSTOREREMOVE=1\nFDNAME=%s", name)
		}
	}
	s.stored = kept
}

// storeSoon is storeListeners at the start, when systemd takes the messages of this process.
func (s *Service) storeSoon() {
	store := func() {
		s.reloading.Lock()
		defer s.reloading.Unlock()
		s.storeListeners()
	}
	if s.takeover == nil {
		store()
		return
	}
	go func() {
		<-s.upgrade.taken
		time.Sleep(storeDelay)
		store()
	}()
}
