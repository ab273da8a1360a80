package proxy

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// A network's silent connections do not keep clients out: the oldest is closed in
// favour of a new one.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	p := newEchoProxy(t)
	p.pending.perNetwork, p.pending.total = 10, 1000
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	var silent []net.Conn
	for i := range 20 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
		eventually(t, "it is accepted", func() bool { return p.Stats().Accepted == int64(i)+1 && p.pending.size() == min(i+1, 10) })
	}
	for i, conn := range silent[:10] {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("silent connection %d: %v", i, err)
		}
	}
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret)
	if n := p.pending.size(); n != 9 {
		t.Errorf("%d are left of ten, of which one made room for clients", n)
	}
}

// If no connection is silent, one of an unauthenticated client that has sent
// something makes room: clients of two addresses would keep all others out
// otherwise.
func TestConnectionsThatHaveSentMakeRoom(t *testing.T) {
	p := newEchoProxy(t)
	p.pending.perNetwork, p.pending.total = 10, 10
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	for i := range 10 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("hello"))
		eventually(t, "its bytes arrive", func() bool { return p.pending.haveSent() == i+1 })
	}
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret)
}

// haveSent returns how many connections have sent something.
func (c *pendingConns) haveSent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.sent.Len()
}

func (c *pendingConns) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.len()
}

// pendingFrom returns a session of a client at that address.
func pendingFrom(t *testing.T, address string) *session {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	return &session{socket: server, source: netip.AddrPortFrom(netip.MustParseAddr(address), 1)}
}

func evicted(s *session) bool { return s.closed == errTooManyPending }

// There is a limit for each network, which is an IPv4 address or an IPv6 /64, and
// one for all. Silent connections are evicted before those that have sent
// something, and nothing is kept of a connection that left.
func TestPendingConnectionsAreLimitedPerNetworkAndInTotal(t *testing.T) {
	c := pendingConns{perNetwork: 2, total: 4}
	a, b, d := pendingFrom(t, "2001:db8::1"), pendingFrom(t, "2001:db8::2"), pendingFrom(t, "2001:db8::3")
	for _, s := range []*session{a, b, d} {
		c.enter(s, silent)
	}
	if !evicted(a) || evicted(b) || evicted(d) {
		t.Error("the oldest connection was not evicted")
	}
	c.firstByte(d)
	c.firstByte(b)
	e := pendingFrom(t, "2001:db8::4")
	if c.enter(e, silent); !evicted(d) || evicted(b) || c.size() != 2 {
		t.Error("the connection that sent first was not evicted")
	}
	f, g := pendingFrom(t, "192.0.2.1"), pendingFrom(t, "192.0.2.2")
	c.enter(f, silent)
	c.enter(g, silent)
	h := pendingFrom(t, "192.0.2.3")
	if c.enter(h, silent); !evicted(e) || evicted(b) || evicted(f) || evicted(g) {
		t.Error("the oldest silent connection of all was not evicted")
	}
	if c.enter(h, hasBytes); c.size() != 4 {
		t.Error("a connection is counted twice")
	}
	if c.enter(a, hasBytes); c.size() != 4 || evicted(b) || evicted(f) {
		t.Error("an evicted connection enters again")
	}
	for range 2 {
		for _, s := range []*session{a, b, d, e, f, g, h} {
			c.leave(s)
		}
	}
	if c.size() != 0 || len(c.networks) != 0 {
		t.Errorf("%d connections and %d networks are kept", c.size(), len(c.networks))
	}
}
