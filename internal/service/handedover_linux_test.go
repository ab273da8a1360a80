package service

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// A process that takes Unix sockets over and cannot listen on another address leaves their
// files to the process before, which goes on.
func TestSocketsStayWhereATakeoverFails(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, reusePort := range []bool{false, true} {
		clients, operators := ListenAddress{"unix", socketPath(t)}, AdminAddress{"unix", socketPath(t)}
		var handed []upgrade.Listener
		for use, address := range map[upgrade.Use]ListenAddress{upgrade.Clients: clients, upgrade.Admin: ListenAddress(operators)} {
			ln, err := address.listen(t.Context(), reusePort)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			handed = append(handed, upgrade.Listener{Use: use, Address: address.String(), Listener: ln})
		}
		takeover := takeoverOf(t, handed)
		config := testConfig(t)
		config.Takeover, config.ReusePort = takeover, reusePort
		config.Listen = []ListenAddress{clients}
		config.Admin = []AdminAddress{operators, {"tcp", busy.Addr().String()}}
		config.Public.UnmarshalText([]byte("proxy.example:443"))
		t.Setenv("MTWIRE_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef")
		s, err := New(config, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		err = s.Listen(t.Context())
		if err == nil {
			t.Fatal("an address was listened on twice")
		}
		s.Close()
		takeover.Refuse(err)
		for _, l := range handed {
			conn, err := net.Dial("unix", l.Addr().String())
			if err != nil {
				t.Errorf("reuse-port %v: the socket is gone: %v", reusePort, err)
				continue
			}
			conn.Close()
		}
	}
}

// A Unix socket that took its name from another process's has that name in the next process,
// too, which removes it at its end.
func TestHandedOverSocketHasItsName(t *testing.T) {
	path := socketPath(t)
	first, err := ListenAddress{"unix", path}.listen(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := upgrade.Duplicate(first)
	if err != nil {
		t.Fatal(err)
	}
	second = (&Config{ReusePort: true}).wrapHandedOver(second)
	closeHere(first)
	if second.Addr().String() != path {
		t.Error(second.Addr())
	}
	second.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// At its end a process removes the files of the sockets that it has taken over, and leaves
// those that systemd has opened.
func TestSocketsOfSystemdStayAfterATakeover(t *testing.T) {
	s := &Service{}
	paths := []string{socketPath(t), socketPath(t)}
	for i, path := range paths {
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		leaveElsewhere(ln)
		s.listeners.all = append(s.listeners.all, &listener{Listener: ln, inherited: i == 1})
	}
	s.setElsewhere(false)
	s.listeners.closeAll()
	if _, err := os.Lstat(paths[0]); !os.IsNotExist(err) {
		t.Errorf("this process's socket is left: %v", err)
	}
	if _, err := os.Lstat(paths[1]); err != nil {
		t.Errorf("systemd's socket is gone: %v", err)
	}
}

// A socket whose path has another spelling in the configuration of an upgrade is one that
// this process listens on: its file stays.
func TestUnusedSocketsAreNoneOfAnotherSpelling(t *testing.T) {
	path := socketPath(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		t.Fatal(err)
	}
	var both []net.Listener
	for _, spelling := range []string{path, filepath.Join(link, filepath.Base(path))} {
		ln, err := ListenAddress{"unix", spelling}.listen(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		both = append(both, ln)
	}
	s := &Service{config: Config{ReusePort: true}}
	s.takeover = takeoverOf(t, []upgrade.Listener{{Use: upgrade.Clients, Address: "unix:" + path, Listener: both[0]}})
	s.listeners.all = []*listener{{Listener: both[1]}}
	closeUnused(s.unusedSockets(), false)
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the socket is gone: %v", err)
	} else {
		conn.Close()
	}
}

// A process that has taken over drops the program's pages no more, while the one before drains:
// each time it would have to map again what it uses.
func TestPagesAreDroppedOnlyWhileSessionsMove(t *testing.T) {
	_, h := takenOverFrom(t, countedTime)
	defer h.Close() // it drains until then
	stacks := make([]byte, 1<<20)
	drops := func() bool {
		return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("service.dropPages"))
	}
	for limit := time.Now().Add(30 * time.Second); drops(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("pages are still dropped")
		}
	}
}

// Operators are served once the process before has told that it serves them no more, behind all
// that it has counted, so that no counter goes back between two scrapes. An older program does not
// tell.
func TestOperatorsAreServedOnceAllIsCounted(t *testing.T) {
	for _, tells := range []bool{true, false} {
		patience := time.Hour
		if !tells {
			patience = time.Millisecond
		}
		s, h := takenOverFrom(t, patience)
		defer h.Close()
		<-s.upgrade.taken
		if tells {
			select {
			case <-s.upgrade.counted:
				t.Error("operators are served before the process before has left")
			default:
			}
			if err := h.SendState(hasLeft); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-s.upgrade.counted:
		case <-time.After(20 * time.Second):
			t.Errorf("operators are not served, tells %v", tells)
		}
	}
}

// The file of a socket that a reload drops while the process before may have to go on with it is
// removed once that has handed over, and not before.
func TestASocketThatIsDroppedDuringATakeoverLosesItsFile(t *testing.T) {
	address := ListenAddress{"unix", socketPath(t)}
	ln, err := address.listen(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	config := testConfig(t)
	config.Listen = append(config.Listen, address)
	s, ready := takingOverFrom(t, []upgrade.Listener{{Use: upgrade.Clients, Address: address.String(), Listener: ln}}, &config)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	go s.takeOver(t.Context())
	h := <-ready
	if h == nil {
		t.Fatal("no upgrade")
	}
	defer h.Close()
	if _, err := h.Settle(); err != nil {
		t.Fatal(err)
	}
	s.listeners.replace(s.listeners.list()[:1])
	if _, err := os.Lstat(address.Address); err != nil {
		t.Error(err)
	}
	closeHere(ln)
	if err := h.Done(); err != nil {
		t.Fatal(err)
	}
	<-s.upgrade.taken
	if _, err := os.Lstat(address.Address); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
}

// A process that is to end before the one before has begun to hand over ends at once, without an
// error, and accepts no client.
func TestAProcessThatIsToEndTakesNothingOver(t *testing.T) {
	config := testConfig(t)
	config.Probe = false
	s, ready := takingOverFrom(t, nil, &config)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, t.Context()); err != nil {
		t.Error(err)
	}
	if h := <-ready; h != nil {
		if _, err := h.Settle(); err == nil {
			t.Error("it takes over")
		}
	}
	if s.listeners.isServed() {
		t.Error("clients are accepted")
	}
}

// takenOverFrom returns a service that has taken over, and the side of the process before, which
// drains.
func takenOverFrom(t *testing.T, patience time.Duration) (*Service, *upgrade.Handover) {
	t.Helper()
	config := testConfig(t)
	s, ready := takingOverFrom(t, nil, &config)
	s.upgrade.patience = patience
	go s.takeOver(t.Context())
	h := <-ready
	if h == nil {
		t.Fatal("no upgrade")
	}
	if _, err := h.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := h.Done(); err != nil {
		t.Fatal(err)
	}
	return s, h
}

// takingOverFrom returns a service with config that takes over, with these listeners, once takeOver
// is called, and then the side of the process before, nil if that fails.
func takingOverFrom(t *testing.T, listeners []upgrade.Listener, config *Config) (*Service, <-chan *upgrade.Handover) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "takeover")
	ln, err := upgrade.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	begun := make(chan *upgrade.Handover, 1)
	go func() {
		defer close(begun)
		if conn, err := ln.AcceptUnix(); err == nil {
			if h, err := upgrade.Accept(context.Background(), conn, listeners, nil); err == nil {
				begun <- h
			}
		}
	}()
	if config.Takeover, err = upgrade.FromSocket(path, ""); err != nil {
		t.Fatal(err)
	}
	s, err := New(*config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, begun
}

// takeoverOf returns the takeover of a process that has these listeners.
func takeoverOf(t *testing.T, listeners []upgrade.Listener) *upgrade.Takeover {
	t.Helper()
	path := filepath.Join(t.TempDir(), "takeover")
	ln, err := upgrade.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.AcceptUnix(); err == nil {
			upgrade.Accept(context.Background(), conn, listeners, nil) // until it is refused
		}
	}()
	takeover, err := upgrade.FromSocket(path, "")
	if err != nil || takeover == nil {
		t.Fatal(takeover, err)
	}
	return takeover
}
