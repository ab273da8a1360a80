package service

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// brokenListener is a listener whose Accept returns an error for which there is no remedy when it
// is broken, or hangs for ever.
type brokenListener struct {
	net.Listener
	broken, closed chan struct{}
	close          sync.Once
}

func newBroken(t *testing.T) *brokenListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &brokenListener{Listener: ln, broken: make(chan struct{}), closed: make(chan struct{})}
}

func (l *brokenListener) Accept() (net.Conn, error) {
	select {
	case <-l.broken:
		return nil, syscall.EINVAL
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *brokenListener) SetDeadline(time.Time) error { return nil }

func (l *brokenListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// The watchdog is not notified while a listener for clients, or for web servers in front, hangs.
// The process ends when one fails.
func TestAListenerThatDoesNotAcceptIsNotNotified(t *testing.T) {
	t.Setenv(watchdogVariable, "120000000")
	for _, isWeb := range []bool{false, true} {
		broken := newBroken(t)
		r := run(t, func(c *Config) {
			c.Probe = false
			if !isWeb {
				c.Inherited = []net.Listener{broken}
			}
		})
		if isWeb {
			if !r.responds(t.Context()) {
				t.Error("a proxy whose listeners accept does not respond")
			}
			r.web.replace([]*listener{{Listener: broken}})
		}
		found := false
		for end := time.Now().Add(time.Minute); !found && time.Now().Before(end); { // until it is served
			limit, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			err := errors.Join(r.proxy.Responds(limit), r.web.responds(limit))
			cancel()
			found = errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), broken.Addr().String())
		}
		if !found {
			t.Errorf("web %v: a process with a listener that hangs responds", isWeb)
		}
		close(broken.broken)
		if err := <-r.done; !errors.Is(err, syscall.EINVAL) {
			t.Errorf("web %v: Run returned %v", isWeb, err)
		}
	}
}

// A listener for web servers in front that is closed on purpose is not missed, also if its
// socket has ended before.
func TestAWebListenerThatIsRemovedIsNotMissed(t *testing.T) {
	r := run(t, func(c *Config) { c.Probe = false })
	broken := newBroken(t)
	r.web.replace([]*listener{{Listener: broken}})
	r.web.mu.Lock()
	removed := r.web.listeners[0]
	removed.removed = true
	r.web.mu.Unlock()
	close(broken.broken)
	r.web.replace(nil)
	if err := r.web.responds(t.Context()); err != nil {
		t.Error(err)
	}
	r.cancel()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// The watchdog is not notified while the admin listener hangs, and is again when that is closed.
func TestAnAdminListenerThatDoesNotAcceptIsNotNotified(t *testing.T) {
	t.Setenv(watchdogVariable, "120000000")
	r := run(t, func(c *Config) {
		c.Probe, c.Admin, c.State = false, []AdminAddress{{"unix", socketPath(t)}}, t.TempDir()
	})
	if !r.responds(t.Context()) {
		t.Error("a proxy whose listeners accept does not respond")
	}
	broken := newBroken(t)
	served := make(chan error, 1)
	watched := r.admin.watchListener(broken)
	go func() {
		defer watched.End()
		served <- r.admin.server.Serve(watched)
	}()
	found := false
	for end := time.Now().Add(time.Minute); !found && time.Now().Before(end); { // until it accepts
		limit, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		err := r.admin.responds(limit)
		cancel()
		found = errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), broken.Addr().String())
	}
	if !found {
		t.Error("a process with an admin listener that hangs responds")
	}
	broken.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if !r.responds(t.Context()) {
		t.Error("a proxy without a listener that hangs does not respond")
	}
}
