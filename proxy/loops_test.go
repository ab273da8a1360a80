package proxy

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
)

// ring starts n proxies, each with the link of the next as an upstream and the last
// one with that of the first. more are further upstreams of the first.
func ring(t *testing.T, n int, secret string, dc net.Addr, more ...string) (proxies []*Proxy, addresses []net.Addr, log *logBuffer) {
	t.Helper()
	var listeners []net.Listener
	for range n {
		listeners = append(listeners, listen(t, "tcp", "127.0.0.1:0"))
	}
	log = &logBuffer{}
	for i, ln := range listeners {
		links := []string{linkOf(listeners[(i+1)%n].Addr(), secret)}
		config := Config{DataCenters: allAt(dc)}
		if i == 0 {
			links, config.Log = append(links, more...), log.logger()
		}
		config.Upstreams = upstreams(t, links...)
		p := newProxy(t, config)
		p.relaying.Idle = 20 * time.Millisecond
		serve(t, p, ln)
		proxies, addresses = append(proxies, p), append(addresses, ln.Addr())
	}
	return proxies, addresses, log
}

// linkOf returns the link of a proxy.
func linkOf(address net.Addr, secret string) string {
	_, port, _ := net.SplitHostPort(address.String())
	return "tg://proxy?server=127.0.0.1&port=" + port + "&secret=" + secret
}

var loopSecrets = []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret}

// A connection that comes back to the proxy, directly or through others, is ended
// there, and its client is served by the next upstream. One warning names the one
// that leads back, and later clients are not sent there.
func TestLoopIsCutAtTheFirstTurn(t *testing.T) {
	for _, n := range []int{1, 2, 4} {
		for _, link := range loopSecrets {
			dc, _ := dataCenter(t)
			proxies, addresses, log := ring(t, n, link, dc, "direct")
			for _, secret := range loopSecrets {
				for range 4 {
					join(t, addresses[0], "protocol=padded-intermediate&secret="+secret)
				}
			}
			for i, p := range proxies {
				turns := 0
				if i == 0 {
					turns = 12
				}
				if accepted := int(p.Stats().Accepted); accepted != turns+1 { // the first client's turn
					t.Errorf("%d proxies: %d connections at number %d, want %d", n, accepted, i, turns+1)
				}
			}
			if s := proxies[0].Stats(); s.Loops != 1 || s.Moved != 1 {
				t.Errorf("%d proxies, %.2s: %+v", n, link, s)
			}
			want := `upstream="mtproxy ` + addresses[1%n].String()
			if lines := log.lines("level=WARN"); len(lines) != 1 || !strings.Contains(lines[0], "leads back") || !strings.Contains(lines[0], want) {
				t.Errorf("%s\nwant %s", strings.Join(lines, "\n"), want)
			}
		}
	}
}

// If there is no other upstream, a client's connection ends after one turn, and
// nothing goes on. The warning comes once, however many clients there are.
func TestLoopWithoutAWayOutEnds(t *testing.T) {
	dc, _ := dataCenter(t)
	for _, n := range []int{1, 3} {
		proxies, addresses, log := ring(t, n, mtwiretest.PaddedSecret, dc)
		const clients = 5
		for range clients {
			conn := dial(t, addresses[0], "secret="+mtwiretest.FakeTLSSecret)
			if err := conn.Send(short(t), payload(3)); err != nil {
				t.Fatal(err)
			}
			ended(t, conn)
			conn.Close()
		}
		for i, p := range proxies {
			eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
			want := clients
			if i == 0 {
				want = 2 * clients
			}
			if accepted := int(p.Stats().Accepted); accepted != want {
				t.Errorf("%d proxies: %d connections at number %d, want %d", n, accepted, i, want)
			}
		}
		if lines := log.lines("an upstream leads back to this proxy: clients"); len(lines) != 1 {
			t.Errorf("%d warnings", len(lines))
		}
	}
}

// A client that sends no whole packet, or nothing, after its handshake starts no
// loop. It is served once it has sent one, in pieces.
func TestLoopNeedsAPacketToStart(t *testing.T) {
	dc, _ := dataCenter(t)
	proxies, addresses, _ := ring(t, 1, mtwiretest.PaddedSecret, dc, "direct")
	socket, err := net.Dial("tcp", addresses[0].String())
	if err != nil {
		t.Fatal(err)
	}
	pieces := &pieces{Conn: socket}
	conn, err := mtwire.Client(short(t), pieces, mtwire.Endpoint{Secret: secretOf(t, mtwiretest.PlainSecret), DC: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Handshake(short(t)); err != nil {
		t.Fatal(err)
	}
	p := proxies[0]
	eventually(t, "the client is authenticated", func() bool { return p.Stats().Authenticated == 1 })
	eventually(t, "no goroutine, where there is a poller", func() bool { return runtime.GOOS != "linux" || len(goroutinesIn("proxy.(*session)")) == 0 })
	for s := range p.Sessions() {
		if stage := s.Report().Stage; stage != Authenticated {
			t.Errorf("it is %v", stage)
		}
	}
	echo(t, conn, 3)
	if s := p.Stats(); s.Accepted != 2 || s.Loops != 1 {
		t.Errorf("%+v", s)
	}
}

// pieces is a connection that writes three bytes at a time.
type pieces struct{ net.Conn }

func (p *pieces) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = p.Conn.Write(b[n:min(n+3, len(b))])
		n += m
		time.Sleep(time.Millisecond)
	}
	return n, err
}

// Clients that send the same bytes at the same time are no loop: their init payloads
// differ. Above maxSame they are taken for one, since other software draws init
// payloads of its own.
func TestEqualUploadsAreNoLoop(t *testing.T) {
	hosts := map[string]func(net.Conn){"other.test:443": echoing(0)}
	config := Config{Upstreams: upstreams(t, "tg://proxy?server=other.test&port=443&secret="+mtwiretest.PaddedSecret)}
	inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
		same := payload(3)
		for i := range maxSame + 1 {
			conn := b.join(fmt.Sprint("dd", mtwiretest.PlainSecret))
			if err := conn.SendPacket(b.ctx, mtwire.Packet{Payload: same, Padding: []byte{}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			want := int64(0)
			if i == maxSame {
				want = 1
			}
			if n := b.Stats().Loops; n != want {
				t.Errorf("%d loops with %d clients", n, i+1)
			}
		}
		b.closeAll(errStopping)
		if n := len(b.loops.sent); n != 0 {
			t.Errorf("%d uploads are remembered without a session", n)
		}
	})
}

// Without MTProxy upstreams nothing is remembered, and a client is connected to its
// data centre before it has sent a packet.
func TestOnlyChainsWaitForPackets(t *testing.T) {
	hosts := map[string]func(net.Conn){"dc.test:443": echoing(1), "proxy.test:443": echoing(1)}
	for link, want := range map[string]Stage{
		"direct": Dialled,
		"tg://proxy?server=proxy.test&port=443&secret=" + mtwiretest.PaddedSecret: Authenticated,
	} {
		config := Config{DataCenters: map[datacenter.DC][]string{0: {"dc.test:443"}}, Upstreams: upstreams(t, link)}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			conn := b.join(mtwiretest.PaddedSecret)
			if err := conn.Handshake(context.Background()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			for s := range b.Sessions() {
				if stage := s.Report().Stage; stage != want {
					t.Errorf("%s: it is %v, want %v", link, stage, want)
				}
			}
			if loops := b.settings().loops; (loops != nil) != (want == Authenticated) {
				t.Errorf("%s: %v", link, loops)
			}
		})
	}
}
