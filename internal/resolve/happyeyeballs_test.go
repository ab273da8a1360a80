package resolve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// network is a fake network that is dialled by address.
type network struct {
	mu     sync.Mutex
	delay  map[string]time.Duration // until an attempt succeeds; an hour: never
	dead   map[string]bool
	dialed []string
	open   int
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, address)
	delay, dead := n.delay[address], n.dead[address]
	n.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if dead {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{}, Err: syscall.ECONNREFUSED}
	}
	near, _ := net.Pipe()
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	return &counted{near, n}, nil
}

type counted struct {
	net.Conn
	network *network
}

func (c *counted) Close() error {
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	c.network.open--
	return c.Conn.Close()
}

// expectDial dials the address through c, closes the connection, and compares the
// addresses that were dialled, and the time that it took.
func (n *network) expectDial(t *testing.T, c *Cache, address string, within time.Duration, want ...string) {
	t.Helper()
	n.dialed = nil
	begin := time.Now()
	conn, err := c.Through(n.dial)(t.Context(), "tcp", address)
	if err != nil {
		t.Errorf("%s: %v", address, err)
		return
	}
	if time.Since(begin) != within {
		t.Errorf("%s: connected after %v, want %v", address, time.Since(begin), within)
	}
	conn.Close()
	if n.open != 0 {
		t.Errorf("%s: %d connections are open", address, n.open)
	}
	if !slices.Equal(n.dialed, want) {
		t.Errorf("%s: dialled %q, want %q", address, n.dialed, want)
	}
}

// What is no TCP address with a host name is dialled as it is, and nothing is
// looked up.
func TestOnlyHostNamesAreLookedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		n := &network{}
		for _, address := range []string{"192.0.2.1:443", "[2001:db8::1]:443", "[fe80::1%eth0]:443", ":443", "nowhere"} {
			n.expectDial(t, c, address, 0, address)
		}
		n.dialed = nil
		conn, err := c.Through(n.dial)(t.Context(), "unix", "/run/a:1")
		if err != nil || n.dialed[0] != "/run/a:1" {
			t.Fatalf("%q, %v", n.dialed, err)
		}
		conn.Close()
		if r.count() != 0 {
			t.Error("an address was looked up")
		}
		n.expectDial(t, c, "host.test:https", 0, "192.0.2.1:https")
		n.expectDial(t, nil, "host.test:443", 0, "host.test:443")
	})
}

// The next address is tried at once after a failure, and beside an attempt that
// takes longer than the delay. The winner is tried first from then on.
func TestAddressesAreTriedBesideOneAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		r.set(0, nil, "2001:db8::1", "192.0.2.1", "192.0.2.2")
		six, one, two := "[2001:db8::1]:443", "192.0.2.1:443", "192.0.2.2:443"
		n := &network{}
		n.expectDial(t, c, "host.test:443", 0, six)
		n.dead = map[string]bool{six: true, one: true}
		n.expectDial(t, c, "host.test:443", 0, six, one, two)
		n.expectDial(t, c, "host.test:443", 0, two)
		n.dead = nil
		n.delay = map[string]time.Duration{two: time.Hour, six: time.Hour, one: time.Millisecond}
		n.expectDial(t, c, "host.test:443", 2*attemptDelay+time.Millisecond, two, six, one)
		n.expectDial(t, c, "host.test:443", time.Millisecond, one)
		n.delay = map[string]time.Duration{one: attemptDelay + time.Millisecond, two: time.Hour, six: time.Hour}
		n.expectDial(t, c, "host.test:443", attemptDelay+time.Millisecond, one, six)
	})
}

// If all addresses fail, the error is that of the first, and the host is looked up
// again for the next dial.
func TestHostThatMovedIsLookedUpAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		n := &network{dead: map[string]bool{"192.0.2.1:443": true, "192.0.2.2:443": true}}
		r.set(0, nil, "192.0.2.1", "192.0.2.2")
		dial := c.Through(n.dial)
		for range 10 {
			if _, err := dial(t.Context(), "tcp", "host.test:443"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
		}
		if got := r.count(); got != 1 {
			t.Errorf("%d lookups", got)
		}
		r.set(0, nil, "192.0.2.3")
		time.Sleep(retryInterval)
		dial(t.Context(), "tcp", "host.test:443")
		time.Sleep(time.Millisecond)
		n.expectDial(t, c, "host.test:443", 0, "192.0.2.3:443")
	})
}

// A network of one family has only its addresses. The error of a lookup is one of
// dialling.
func TestErrorsAreThoseOfADial(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		dial := c.Through((&network{}).dial)
		var op *net.OpError
		if _, err := dial(t.Context(), "tcp6", "host.test:443"); !errors.As(err, &op) {
			t.Error(err)
		}
		r.set(0, errResolver)
		if _, err := dial(t.Context(), "tcp", "other.test:443"); !errors.As(err, &op) || !errors.Is(err, errResolver) {
			t.Error(err)
		}
		r.set(time.Hour, nil)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := dial(short, "tcp", "third.test:443"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// A dial that its context ends has ended its attempts when it returns.
func TestContextEndsAllAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		r.set(0, nil, "192.0.2.1", "192.0.2.2")
		n := &network{delay: map[string]time.Duration{"192.0.2.1:443": time.Hour, "192.0.2.2:443": time.Hour}}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Through(n.dial)(short, "tcp", "host.test:443"); !errors.Is(err, context.DeadlineExceeded) || n.open != 0 || len(n.dialed) != 2 {
			t.Errorf("%v, %d open, dialled %q", err, n.open, n.dialed)
		}
	})
}

// With a DNS server and sockets, 100 connections to one host cost one query for
// each address family.
func TestConnectionsShareOneQuery(t *testing.T) {
	server, err := loopback.ListenDNS()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
	c := New(Config{Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return server.Resolver().LookupNetIP(ctx, "ip", host)
	}})
	defer c.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	dial := c.Through(new(net.Dialer).DialContext)
	var dials sync.WaitGroup
	for range 100 {
		dials.Go(func() {
			conn, err := dial(t.Context(), "tcp", "host.test.:"+port)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if text, err := io.ReadAll(conn); string(text) != "hello" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
	dials.Wait()
	if n := server.Queries(); n != 2 {
		t.Errorf("%d queries, want one for each family", n)
	}
}
