package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// relisten has the service listen on these addresses in place of the present ones.
func (r *running) relisten(t *testing.T, texts ...string) error {
	t.Helper()
	next := r.current()
	next.Listen = nil
	for _, text := range texts {
		next.Listen = append(next.Listen, unmarshal[ListenAddress](t, text))
	}
	_, err := r.Reconfigure(next)
	return err
}

// joinAt returns the connection of a client at that address.
func joinAt(t *testing.T, network, address string) *mtwire.Conn {
	t.Helper()
	socket, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := mtwire.Client(t.Context(), socket, mtwire.Endpoint{Secret: secretOf(t, mtwiretest.PlainSecret), DC: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	receive(t, conn)
	return conn
}

// refuses reports whether nothing listens at an address.
func refuses(network, address string) bool {
	conn, err := net.Dial(network, address)
	if err == nil {
		conn.Close()
	}
	return err != nil
}

// Addresses come and go. Connections that came through an address which is gone live on,
// and so does a listener whose address stays.
func TestListenersComeAndGo(t *testing.T) {
	first, second, path := freeAddress(t), freeAddress(t), socketPath(t)
	r := run(t, func(c *Config) { c.Listen = []ListenAddress{unmarshal[ListenAddress](t, first)} })
	live := joinAt(t, "tcp", first)
	stays := r.listeners.list()[0]
	if err := r.relisten(t, "unix:"+path, first, second); err != nil {
		t.Fatal(err)
	}
	if r.listeners.list()[1] != stays || len(r.Addresses()) != 3 || r.Addresses()[0].String() != path {
		t.Errorf("%v", r.Addresses())
	}
	late, local := joinAt(t, "tcp", second), joinAt(t, "unix", path)
	if err := r.relisten(t, second); err != nil {
		t.Fatal(err)
	}
	if !refuses("tcp", first) || !refuses("unix", path) {
		t.Error("an address that is gone is listened on")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	for _, conn := range []*mtwire.Conn{live, late, local} {
		receive(t, conn)
	}
	if err := r.relisten(t, first, "unix:"+path); err != nil {
		t.Fatal(err)
	}
	joinAt(t, "tcp", first)
	joinAt(t, "unix", path)
	r.cancel()
	if err := r.result(t); err != nil {
		t.Error(err)
	}
	if !refuses("tcp", first) || !refuses("tcp", second) || !refuses("unix", path) {
		t.Error("an address is listened on after the end")
	}
}

// If one address cannot be listened on, nothing changes, and no other one is.
func TestListenersAreReplacedOrNot(t *testing.T) {
	first, second := freeAddress(t), freeAddress(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := run(t, func(c *Config) { c.Listen = []ListenAddress{unmarshal[ListenAddress](t, first)} })
	live := joinAt(t, "tcp", first)
	err = r.relisten(t, second, taken.Addr().String())
	var wrong *ConfigError
	if !errors.As(err, &wrong) || wrong.Setting != "listen" || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("%v", err)
	}
	if !refuses("tcp", second) || len(r.Addresses()) != 1 {
		t.Errorf("something has changed: %v", r.Addresses())
	}
	receive(t, live)
	joinAt(t, "tcp", first)
}

// A listener that was inherited stays, whether its address is configured or not, and an
// address that it listens on is not listened on again.
func TestInheritedListenersStay(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inherited, own := ln.Addr().String(), freeAddress(t)
	r := run(t, func(c *Config) {
		c.Listen, c.Inherited = []ListenAddress{unmarshal[ListenAddress](t, own)}, []net.Listener{ln}
	})
	live := joinAt(t, "tcp", inherited)
	for _, texts := range [][]string{{inherited}, {inherited, own}, {own}, {}, {own}} {
		if err := r.relisten(t, texts...); err != nil {
			t.Fatalf("%v: %v", texts, err)
		}
		joinAt(t, "tcp", inherited)
		receive(t, live)
		n := 1
		if strings.Contains(strings.Join(texts, " "), own) {
			joinAt(t, "tcp", own)
			n = 2
		} else if !refuses("tcp", own) {
			t.Errorf("%v: %s is listened on", texts, own)
		}
		if len(r.Addresses()) != n {
			t.Errorf("%v: %v", texts, r.Addresses())
		}
	}
}

// All addresses of a port can take the place of one, and the reverse, and no client is
// refused meanwhile.
func TestOverlappingAddressesTakeTheirPlace(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere SO_REUSEPORT must be set before an address is taken, so this is an error")
	}
	one := freeAddress(t)
	_, port, _ := net.SplitHostPort(one)
	r := run(t, func(c *Config) { c.Listen = []ListenAddress{unmarshal[ListenAddress](t, one)} })
	live := joinAt(t, "tcp", one)
	for _, text := range []string{":" + port, one, "0.0.0.0:" + port, ":" + port, "0.0.0.0:" + port, one} {
		if err := r.relisten(t, text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		joinAt(t, "tcp", one)
		receive(t, live)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := r.relisten(t, ":"+port, taken.Addr().String()); err == nil {
		t.Error("an address that is taken can be listened on")
	}
	joinAt(t, "tcp", one)
}

// Listeners that come and go while clients connect refuse none of those whose address
// stays, and leave nothing that is served.
func TestListenersComeAndGoUnderConnections(t *testing.T) {
	stays := freeAddress(t)
	var others []string
	for range 4 {
		others = append(others, freeAddress(t))
	}
	r := run(t, func(c *Config) { c.Listen = []ListenAddress{unmarshal[ListenAddress](t, stays)} })
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var served atomic.Int64
	for range 3 {
		clients.Go(func() {
			for ctx.Err() == nil {
				conn, err := mtwire.Dial(t.Context(), fmt.Sprintf("tcp://%s?secret=%s", stays, mtwiretest.PlainSecret), nil)
				if err != nil {
					t.Error(err)
					return
				}
				receive(t, conn)
				conn.Close()
				served.Add(1)
			}
		})
	}
	for i := range 200 {
		texts := []string{stays, others[i%4], others[(i+1)%4]}
		if i%7 == 0 {
			texts = texts[:1]
		}
		if err := r.relisten(t, texts...); err != nil {
			t.Error(err)
		}
	}
	cancel()
	clients.Wait()
	if served.Load() == 0 {
		t.Error("no client was served")
	}
	if err := r.relisten(t, stays); err != nil {
		t.Error(err)
	}
	r.listeners.mu.Lock()
	if r.listeners.serving != 1 {
		t.Errorf("%d listeners are served", r.listeners.serving)
	}
	r.listeners.mu.Unlock()
}

// After an upgrade the process before leaves the addresses of a new configuration to the
// other one, and takes the rest of it: the sessions that it has left are of users.
func TestListenersAreLeftToTheOtherProcess(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0") // the other process was first
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r := run(t, nil)
	close(r.upgrade.done)
	for _, address := range []string{other.Addr().String(), freeAddress(t)} {
		if err := r.relisten(t, address); err != nil {
			t.Error(err)
		}
		if address != other.Addr().String() && !refuses("tcp", address) {
			t.Error("the process before listens on a new address")
		}
	}
}
