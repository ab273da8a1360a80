package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/mtwiretest"
)

// countClass returns how many sessions have a class.
func countClass(p *Proxy, class admission.Class) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.sessions {
		if admission.Class(s.class.Load()) == class {
			n++
		}
	}
	return n
}

// A network's silent connections do not keep clients out: the oldest is closed in
// favour of a new one.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	dc, _ := dataCenter(t)
	p := newProxy(t, Config{DataCenters: allAt(dc), MaxUnauthenticated: 1000, MaxUnauthenticatedPerAddress: 10})
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
		eventually(t, "it is accepted", func() bool { return p.Stats().Accepted == int64(i)+1 && p.pending.Len() == min(i+1, 10) })
	}
	for i, conn := range silent[:10] {
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("silent connection %d: %v", i, err)
		}
	}
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret)
	if n := p.pending.Len(); n != 9 {
		t.Errorf("%d are left of ten, of which one made room for clients", n)
	}
}

// The operator chooses how many connections an address may have.
func TestShareOfAnAddressIsConfigurable(t *testing.T) {
	p, address := startProxy(t, Config{Users: onlyUser(t, mtwiretest.PaddedSecret), MaxUnauthenticated: 100, MaxUnauthenticatedPerAddress: 5})
	if got := p.Limits(); got.PerAddress != 5 || got.Unauthenticated != 100 {
		t.Errorf("limits %+v", got)
	}
	for i := range 8 {
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		eventually(t, "it is accepted", func() bool { return p.Stats().Accepted == int64(i)+1 && p.pending.Len() == min(i+1, 5) })
	}
}

// If no connection is silent, one of an unauthenticated client that has sent
// something makes room: clients of two addresses would keep all others out
// otherwise.
func TestConnectionsThatHaveSentMakeRoom(t *testing.T) {
	dc, _ := dataCenter(t)
	p := newProxy(t, Config{DataCenters: allAt(dc), MaxUnauthenticated: 10, MaxUnauthenticatedPerAddress: 10})
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	for i := range 10 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("hello"))
		eventually(t, "its bytes arrive", func() bool { return countClass(p, admission.Partial) == i+1 })
	}
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret)
}

// The default limits follow the descriptors that the process may have, so that more
// than half of these are left for authenticated clients. Configured limits stay.
func TestLimitsFollowTheDescriptors(t *testing.T) {
	for _, test := range []struct {
		files, unauthenticated, fronted int // given
		want                            [2]int
	}{
		{files: 64, want: [2]int{16, 16}},
		{files: 1024, want: [2]int{256, 128}},
		{files: 20_000, want: [2]int{5000, 2500}},
		{files: 1 << 20, want: [2]int{maxUnauthenticated, maxFronted}},
		{files: 1 << 20, unauthenticated: 1000, want: [2]int{1000, 1000}},
		{files: 64, unauthenticated: 1000, fronted: 500, want: [2]int{1000, 500}},
	} {
		config := Config{MaxUnauthenticated: test.unauthenticated, MaxFronted: test.fronted}
		config.defaultLimits(test.files)
		if got := [2]int{config.MaxUnauthenticated, config.MaxFronted}; got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// Connections that are not authenticated, and those of them that are connected to a
// fronting host, are counted and limited as configured.
func TestConfiguredLimitsAreInForce(t *testing.T) {
	host, _ := frontingHost(t)
	p, address := startProxy(t, Config{
		Users:              onlyUser(t, mtwiretest.FakeTLSSecret),
		Fronts:             map[string]Front{"": {Address: host}},
		MaxUnauthenticated: 20, MaxFronted: 8,
	})
	if l := p.Limits(); l.Unauthenticated != 20 || l.Fronted != 8 || l.Descriptors <= 0 || l.Exceeded() {
		t.Errorf("%+v", l)
	}
	for i := range 20 { // not at once: those that are evicted still have their hosts for a moment
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		eventually(t, "the connection is accepted", func() bool { return p.Stats().Accepted == int64(i)+1 })
	}
	// One address has half of each limit.
	eventually(t, "connections beyond the limits are closed", func() bool {
		s := p.Stats()
		return s.Accepted == 20 && s.Pending == 4 && s.Fronted == 4 && s.Evicted == 16
	})
}

// A visitor for which another one makes room has its answer from the fronting host, although the
// other one's tunnel ends only a moment later.
func TestAVisitorThatOthersMakeRoomForIsAnswered(t *testing.T) {
	hosts := map[string]func(net.Conn){"front.test:443": func(conn net.Conn) { io.Copy(conn, conn) }}
	config := Config{
		Fronts:     map[string]Front{"": {Address: "front.test:443"}},
		MaxFronted: 4, MaxUnauthenticated: 100,
	}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		for i := range 50 {
			client, server := net.Pipe()
			t.Cleanup(func() { client.Close() })
			b.handle(&addressed{server, &net.TCPAddr{IP: net.IPv4(192, 0, byte(i), 1), Port: 1}})
			client.SetDeadline(time.Now().Add(time.Minute))
			hello := bytes.Repeat([]byte{byte(i)}, 100)
			answer := make([]byte, len(hello))
			if _, err := client.Write(hello); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(client, answer); err != nil || !bytes.Equal(answer, hello) {
				t.Fatalf("visitor %d: % x, %v", i, answer, err)
			}
		}
		if s := b.Stats(); s.Fronted != 4 || s.Evicted != 46 {
			t.Errorf("%+v", s)
		}
	})
}

// If there is no descriptor for an authenticated client's data centre, silent
// connections make room; also if it is the lookup of a host name that has none.
func TestSilentConnectionsMakeRoomForADataCenter(t *testing.T) {
	for _, shortage := range []error{os.NewSyscallError("socket", syscall.EMFILE), &net.DNSError{Err: "dial udp 192.0.2.53:53: socket: too many open files", Name: "dc.test"}} {
		makeRoomForADataCenter(t, &net.OpError{Op: "dial", Err: shortage})
	}
}

func makeRoomForADataCenter(t *testing.T, shortage error) {
	t.Helper()
	dc, _ := dataCenter(t)
	var p *Proxy
	p = newProxy(t, Config{
		DataCenters: allAt(dc),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if p.Stats().Pending > 0 {
				return nil, shortage
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	})
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	for range 5 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	eventually(t, "they are pending", func() bool { return p.Stats().Pending == 5 })
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	if s := p.Stats(); s.Evicted != 5 || s.Unreachable != 0 {
		t.Errorf("%+v", s)
	}
}

// If there is no descriptor for an authenticated client's data centre, and nothing makes room,
// the client waits for a while, and is served if there is one. Another client does not wait
// meanwhile: what it has may be what the first one waits for.
func TestOneClientAtATimeWaitsForADescriptor(t *testing.T) {
	dc, _ := dataCenter(t)
	var dials atomic.Int32
	waits, free := make(chan struct{}), make(chan struct{})
	_, address := startProxy(t, Config{
		DataCenters: allAt(dc),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			switch dials.Add(1) {
			case 4: // of the first client, which waits
				close(waits)
				<-free
			case 6: // of the first client again
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}
		},
	})
	first := dial(t, address, "secret="+mtwiretest.PaddedSecret)
	sent := payload(3)
	if err := first.Send(short(t), sent); err != nil {
		t.Fatal(err)
	}
	<-waits
	second := dial(t, address, "secret="+mtwiretest.PaddedSecret)
	if err := second.Send(short(t), payload(3)); err != nil {
		t.Fatal(err)
	}
	ended(t, second)
	close(free)
	if p, err := first.Receive(short(t)); err != nil || !bytes.Equal(p.Payload, sent) {
		t.Errorf("%d bytes, %v", len(p.Payload), err)
	}
	if n := dials.Load(); n != 6 {
		t.Errorf("%d dials", n)
	}
}

// A visitor that the site has answered is not evicted in favour of clients that send
// nothing, whether the visitor's bytes were complete at once or came while it was
// undecided.
func TestVisitorsOfTheSiteAreEvictedLast(t *testing.T) {
	host := startHost(t, func(conn net.Conn) { io.Copy(conn, conn) })
	p, address := startProxy(t, Config{
		Users:              onlyUser(t, mtwiretest.FakeTLSSecret),
		Fronts:             map[string]Front{"": {Address: host}},
		MaxUnauthenticated: 20, MaxFronted: 8,
	})
	connect := func() net.Conn {
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	visitors := []net.Conn{connect(), connect()}
	visitors[0].Write([]byte("GET /"))
	time.Sleep(2 * mirrorDelay)
	visitors[1].Write([]byte("GET /"))
	for _, visitor := range visitors {
		read(t, visitor, 5)
	}
	eventually(t, "they are answered", func() bool {
		s := p.Stats()
		return s.Pending == 2 && s.Fronted == 2 && countClass(p, admission.Answered) == 2
	})
	for range 30 {
		connect()
	}
	eventually(t, "others make room", func() bool { return p.Stats().Evicted >= 28 })
	for _, visitor := range visitors {
		visitor.Write([]byte("again"))
		read(t, visitor, 5)
	}
}
