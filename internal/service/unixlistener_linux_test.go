package service

import (
	"encoding/json"
	"net"
	"os"
	"testing"

	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// replaceSocket has another process's socket take the place of that at path.
func replaceSocket(t *testing.T, path string) net.Listener {
	t.Helper()
	other, err := net.Listen("unix", path+".other")
	if err != nil {
		t.Fatal(err)
	}
	other.(*net.UnixListener).SetUnlinkOnClose(false)
	t.Cleanup(func() { other.Close() })
	if err := os.Rename(path+".other", path); err != nil {
		t.Fatal(err)
	}
	return other
}

// A listener that closes leaves the socket of another process that has taken its name, and
// removes its own.
func TestASocketOfTheSameNameStays(t *testing.T) {
	for _, reusePort := range []bool{false, true} {
		for _, isReplaced := range []bool{false, true} {
			path := socketPath(t)
			ln, err := ListenAddress{"unix", path}.listen(t.Context(), reusePort)
			if err != nil {
				t.Fatal(err)
			}
			if isReplaced {
				replaceSocket(t, path)
			}
			ln.Close()
			if _, err := os.Lstat(path); os.IsNotExist(err) == isReplaced {
				t.Errorf("reuse-port %v, replaced %v: %v", reusePort, isReplaced, err)
			}
		}
	}
}

// A listener that is closed again leaves the socket of the next process, which may have the inode
// of its own.
func TestAListenerThatIsClosedAgainRemovesNothing(t *testing.T) {
	address := ListenAddress{"unix", socketPath(t)}
	for range 50 {
		first, err := address.listen(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		second, err := address.listen(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		if _, err := os.Lstat(address.Address); err != nil {
			t.Error(err)
		}
		second.Close()
	}
}

// Sockets that were handed over are told from those of other processes which have taken their
// names before the upgrade: those that are used on, and those that are not.
func TestHandedOverSocketsLeaveThoseOfTheSameName(t *testing.T) {
	for _, isReplaced := range []bool{false, true} {
		used, unused := ListenAddress{"unix", socketPath(t)}, ListenAddress{"unix", socketPath(t)}
		before := &Service{}
		for _, address := range []ListenAddress{used, unused} {
			ln, err := address.listen(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			defer closeHere(ln)
			if isReplaced {
				replaceSocket(t, address.Address)
			}
			before.listeners.all = append(before.listeners.all, &listener{Listener: ln, address: address})
		}
		next := &Service{takeover: takeoverOf(t, before.handedListeners())}
		next.config.Takeover = next.takeover
		next.listeners.all = []*listener{{Listener: next.config.handedOver(upgrade.Clients, used), address: used}}
		r := &restorer{service: next, unused: next.unusedSockets()}
		closeAllHere(before.listeners.all) // as before the state is sent
		for _, finding := range socketFindings(before.handedListeners()) {
			element, err := json.Marshal(finding)
			if err != nil {
				t.Fatal(err)
			}
			r.add(socketPart, element)
		}
		closeUnused(r.unused, false)
		next.setElsewhere(false)
		next.listeners.closeAll()
		for _, address := range []ListenAddress{used, unused} {
			if _, err := os.Lstat(address.Address); os.IsNotExist(err) == isReplaced {
				t.Errorf("replaced %v: %v", isReplaced, err)
			}
		}
	}
}
