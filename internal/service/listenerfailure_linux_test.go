package service

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// oldProcess is the process before, of which a test does the steps.
type oldProcess struct {
	path  string
	ready chan *upgrade.Handover // closed without one if there is no upgrade
}

// startOld listens for a process that takes these listeners over.
func startOld(t *testing.T, listeners []upgrade.Listener) *oldProcess {
	t.Helper()
	old := &oldProcess{filepath.Join(t.TempDir(), "takeover"), make(chan *upgrade.Handover, 1)}
	ln, err := upgrade.ListenSocket(old.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		defer close(old.ready)
		if conn, err := ln.AcceptUnix(); err == nil {
			if h, err := upgrade.Accept(context.Background(), conn, listeners, nil); err == nil {
				old.ready <- h
			}
		}
	}()
	return old
}

// A listener that fails in the new process, after it has begun to accept and before it has
// everything, leaves the sockets to the old one, which goes on: they listen, and have their
// files.
func TestAListenerThatFailsDuringATakeoverLeavesTheSockets(t *testing.T) {
	for _, reusePort := range []bool{false, true} {
		socket, tcp := ListenAddress{"unix", socketPath(t)}, ListenAddress{"tcp", "127.0.0.1:0"}
		var handed []upgrade.Listener
		for _, address := range []*ListenAddress{&socket, &tcp} {
			ln, err := address.listen(t.Context(), reusePort)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if address == &tcp {
				tcp.Address = ln.Addr().String()
			}
			handed = append(handed, upgrade.Listener{Use: upgrade.Clients, Address: address.String(), Listener: ln})
		}
		old, broken := startOld(t, handed), newBroken(t)
		r := run(t, func(c *Config) {
			c.Probe, c.ReusePort = false, reusePort
			c.Listen, c.Inherited = []ListenAddress{socket, tcp}, []net.Listener{broken}
			var err error
			if c.Takeover, err = upgrade.FromSocket(old.path, ""); err != nil {
				t.Fatal(err)
			}
		})
		h := <-old.ready
		if h == nil {
			t.Fatal("no upgrade")
		}
		defer h.Close()
		if _, err := h.Settle(); err != nil {
			t.Fatal(err)
		}
		close(broken.broken)
		if err := <-r.done; !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Run returned %v", err)
		}
		if _, err := os.Lstat(socket.Address); err != nil {
			t.Errorf("reuse-port %v: %v", reusePort, err)
		}
		for _, l := range handed {
			if !reached(t, l.Listener, l.Addr().Network(), l.Addr().String()) {
				t.Errorf("reuse-port %v: %v does not listen any more", reusePort, l.Addr())
			}
		}
	}
}

// brokenSocket is a listener that an upgrade passes on, and whose Accept fails here.
type brokenSocket struct {
	*brokenListener
	syscall.Conn
}

// A listener that fails in the old process while an upgrade is on its way ends neither: the new
// process takes over, and the old one drains and ends without an error.
func TestAListenerThatFailsDuringAnUpgradeEndsNothing(t *testing.T) {
	broken := newBroken(t)
	r := run(t, func(c *Config) {
		c.Probe = false
		c.Inherited = []net.Listener{&brokenSocket{broken, broken.Listener.(syscall.Conn)}}
	})
	within(t, "it serves", r.listeners.isServed)
	path := filepath.Join(t.TempDir(), "takeover")
	ln, err := upgrade.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	next, err := proxy.New(proxy.Config{Log: discard, Users: []proxy.User{{Name: "alice", Secrets: []mtproxy.Secret{{Key: [16]byte{1}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	taken := make(chan error, 1)
	go func() {
		takeover, err := upgrade.FromSocket(path, "")
		if err == nil {
			_, err = takeover.Run(context.Background(), next, func() []string { return nil }, func(string, []byte) {})
		}
		taken <- err
	}()
	conn, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.tryUpgrade(nil, func(ctx context.Context, listeners []upgrade.Listener) (*upgrade.Handover, error) {
		h, err := upgrade.Accept(ctx, conn, listeners, nil)
		close(broken.broken)
		if err == nil {
			within(t, "the failure is noticed", func() bool { return strings.Contains(r.log.String(), "a listener has failed") })
		}
		return h, err
	})
	if err != nil {
		t.Errorf("the upgrade has failed: %v", err)
	}
	if err := <-taken; err != nil {
		t.Errorf("the new process has not taken over: %v", err)
	}
	if err := <-r.done; err != nil {
		t.Errorf("the old process: %v", err)
	}
}
