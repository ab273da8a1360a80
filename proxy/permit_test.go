package proxy

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A client at an address that is not permitted sees the fronting host, with a good
// secret in each mode, and is counted once. It gets the host's answer to its own bytes,
// and nothing in front of it. Permit is asked once for a connection.
func TestClientsThatAreNotPermittedSeeTheFrontingHost(t *testing.T) {
	host, visits := frontingHost(t)
	dc, _ := dataCenter(t)
	blocked := errors.New("blocked")
	var asked atomic.Int64
	var blocks atomic.Bool
	blocks.Store(true)
	ended := &reports{}
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	p, address := startProxy(t, Config{
		Users:       []User{user(t, "alice", mtwiretest.FakeTLSSecret), user(t, "bob", aliceKey)},
		Fronts:      map[string]Front{"": {Address: host}},
		DataCenters: allAt(dc),
		Traces:      []*Trace{ended.trace()},
		Permit: func(addr netip.Addr) error {
			asked.Add(1)
			if addr != netip.MustParseAddr("127.0.0.1") {
				t.Errorf("asked about %v", addr)
			}
			if blocks.Load() {
				return blocked
			}
			return nil
		},
	})
	for _, first := range [][]byte{
		helloOf(t, secret.Key, secret.Domain),
		initOf(t, secretOf(t, aliceKey).Key, mtwire.PaddedIntermediate),
		initOf(t, secretOf(t, aliceKey).Key, mtwire.Abridged),
	} {
		fronted(t, address, visits, first)
	}
	for _, r := range ended.wait(t, 3) {
		if !errors.Is(r.Err, blocked) || r.User != nil || r.Stage != ClientBytes {
			t.Errorf("%+v", r)
		}
	}
	if s := p.Stats(); s.RefusedAddress != 3 || s.Authenticated != 0 || s.SearchesSkipped != 0 || asked.Load() != 3 {
		t.Errorf("%+v, asked %d times", s, asked.Load())
	}
	blocks.Store(false)
	echo(t, join(t, address, "secret="+mtwiretest.FakeTLSSecret), 3)
}

// Permit gets an IPv4 address also on a socket of both families: otherwise no IPv4 network of
// it would contain one.
func TestPermitGetsIPv4AddressesOfASocketOfBothFamilies(t *testing.T) {
	asked := make(chan netip.Addr, 1)
	p := newProxy(t, Config{
		Users:  []User{user(t, "alice", aliceKey)},
		Permit: func(addr netip.Addr) error { asked <- addr; return errors.New("blocked") },
	})
	ln := listen(t, "tcp", ":0")
	go p.Serve(t.Context(), ln) // without netx.Sockets, as the caller of the package does
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(initOf(t, secretOf(t, aliceKey).Key, mtwire.Abridged)); err != nil {
		t.Fatal(err)
	}
	if addr := <-asked; addr != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("asked about %v", addr)
	}
}
