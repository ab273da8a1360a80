package proxy

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Connections of a load balancer that sends no headers make room for each other at its share,
// and keep neither those of another balancer out nor the clients of its own. All that connect to
// Unix sockets are one balancer.
func TestConnectionsWithoutTheirHeaderMakeRoom(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	p := newProxy(t, Config{
		DataCenters: allAt(dc), Log: log.logger(), MaxUnauthenticated: 4 * minLimit, MaxUnauthenticatedPerAddress: 1,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, TrustUnixSockets: true,
	})
	ln, path := listen(t, "tcp", "127.0.0.1:0"), socketPath(t)
	serve(t, p, ln, listen(t, "unix", path))
	const share = minLimit / 2
	for i, balancer := range []net.Addr{ln.Addr(), &net.UnixAddr{Name: path, Net: "unix"}} {
		var waiting []net.Conn
		for j := range share + 2 {
			conn, err := net.Dial(balancer.Network(), balancer.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			waiting = append(waiting, conn)
			accepted, present := int64(i*(share+2)+j+1), i*share+min(j+1, share)
			eventually(t, "it is accepted", func() bool { return p.Stats().Accepted == accepted && p.headers.Len() == present })
		}
		for _, conn := range waiting[:2] {
			conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the oldest of %v: %v", balancer, err)
			}
		}
	}
	if n := p.Stats().Evicted; n != 4 {
		t.Errorf("%d were evicted", n)
	}
	if len(log.lines("waiting for a PROXY protocol header: too many unauthenticated connections: limit of 8 for an address of 127.0.0.0/24")) == 0 {
		t.Error(strings.Join(log.lines(""), "\n"))
	}
	conn, err := mtwire.Dial(short(t), "tcp://"+ln.Addr().String()+"?secret="+mtwiretest.PlainSecret, withHeader(header(1, "192.0.2.5:4321")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo(t, conn, 3)
	if n := p.headers.Len(); n != 2*share-1 {
		t.Errorf("%d wait for a header, of which one made room for a client", n)
	}
}

// A reload changes the limit also for those that wait.
func TestTheLimitOfAwaitedHeadersChanges(t *testing.T) {
	p := newProxy(t, Config{MaxUnauthenticated: 8 * minLimit, TrustUnixSockets: true})
	path := socketPath(t)
	serve(t, p, listen(t, "unix", path))
	for i := range minLimit {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		eventually(t, "it is accepted", func() bool { return p.headers.Len() == i+1 })
	}
	next := p.config
	next.Users = onlyUser(t, mtwiretest.PlainSecret)
	next.MaxUnauthenticated = 4 * minLimit
	change, err := p.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	change.Apply()
	if n := p.headers.Len(); n != minLimit/2 {
		t.Errorf("%d wait", n)
	}
}
