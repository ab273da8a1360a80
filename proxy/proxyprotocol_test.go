package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/keysearch"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// header returns a PROXY protocol header of that version for a client.
func header(version int, client string) []byte {
	from := netip.MustParseAddrPort(client)
	to := netip.AddrPortFrom(from.Addr(), 443)
	if version == 1 {
		family := "TCP4"
		if from.Addr().Is6() {
			family = "TCP6"
		}
		return fmt.Appendf(nil, "PROXY %s %v %v %d 443\r\n", family, from.Addr(), to.Addr(), from.Port())
	}
	family := byte(0x11)
	if from.Addr().Is6() {
		family = 0x21
	}
	body := slices.Concat(from.Addr().AsSlice(), to.Addr().AsSlice())
	body = binary.BigEndian.AppendUint16(body, from.Port())
	body = binary.BigEndian.AppendUint16(body, to.Port())
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21"), family)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

// withHeader connects a client through a load balancer that sends header first.
func withHeader(header []byte) *mtwire.DialConfig {
	return &mtwire.DialConfig{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			_, err = conn.Write(header)
		}
		return conn, err
	}}
}

// The client's address is the one in the header, in the log and in the memory of
// addresses.
func TestHeaderOfALoadBalancerNamesTheClient(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	users := numberedUsers(0, 100, mtproxy.Plain, "")
	p, address := startProxy(t, Config{
		Users: users, Log: log.logger(), LogClients: true,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		DataCenters:    allAt(dc),
	})
	for i, client := range []string{"192.0.2.5:4321", "[2001:db8:5::1]:4321"} {
		for version := 1; version <= 2; version++ {
			for _, mode := range []string{"dd", "ee"} {
				secret := users[10+i].Secrets[0]
				if secret.Mode = mtproxy.Padded; mode == "ee" {
					secret.Mode, secret.Domain = mtproxy.FakeTLS, "a.example"
				}
				conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret="+secret.String(), withHeader(header(version, client)))
				if err != nil {
					t.Fatal(err)
				}
				echo(t, conn, 1000)
				own := conn.LocalAddr().String()
				conn.Close()
				eventually(t, "the session ends", func() bool { return p.Stats().Open == 0 })
				if line := log.last(); !strings.Contains(line, " client="+client+" ") && !strings.Contains(line, " client=\""+client+"\" ") ||
					!strings.Contains(line, " mode="+mode+" ") || strings.Contains(line, own) {
					t.Errorf("version %d: %s", version, line)
				}
			}
		}
		from := netip.MustParseAddrPort(client).Addr()
		if keys := remembered(t, p, from); !slices.Equal(keys, [][16]byte{keyOf(10 + i)}) {
			t.Errorf("keys %x are remembered at %v", keys, from)
		}
	}
	if keys := remembered(t, p, netip.MustParseAddr("127.0.0.1")); keys != nil {
		t.Errorf("keys %x are remembered at the load balancer", keys)
	}
}

// remembered returns the keys that a search for a client at that address tries
// first, before those of the latest newcomers at any address.
func remembered(t *testing.T, p *Proxy, from netip.Addr) (keys [][16]byte) {
	users := p.users.Load()
	find := func(from netip.Addr, try func(*mtproxy.KeySet) int) {
		p.search.Find(t.Context(), users.index, from, keysearch.Query{Length: 64}, try)
	}
	newcomer := keyOf(0) // the latest one, at an address that no client has
	find(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, rand.Uint32()|224<<24))), func(set *mtproxy.KeySet) int {
		return slices.Index(set.Keys(), newcomer)
	})
	find(from, func(set *mtproxy.KeySet) int {
		if keys == nil {
			keys = slices.Clone(set.Keys())
		}
		return -1
	})
	if keys[0] == newcomer {
		return nil
	}
	return keys
}

// The header of a peer that is not trusted is tunneled as an unauthenticated
// client's bytes, and its address is not used.
func TestHeaderOfAnUntrustedPeerIsNotRead(t *testing.T) {
	host, visits := frontingHost(t)
	log := &logBuffer{}
	address := start(t, Config{
		Log: log.logger(), LogClients: true,
		TrustedProxies:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		TrustUnixSockets: true,
		Fronts:           map[string]Front{"": {Address: host}},
	})
	init := initOf(t, secretOf(t, mtwiretest.PlainSecret).Key, mtwire.PaddedIntermediate)
	for version := 1; version <= 2; version++ {
		fronted(t, address, visits, slices.Concat(header(version, "192.0.2.5:4321"), init))
	}
	eventually(t, "two lines", func() bool { return len(log.lines(`stage="client bytes"`)) == 2 })
	if len(log.lines("192.0.2.5")) != 0 || len(log.lines("client=127.0.0.1:")) != 2 {
		t.Error(strings.Join(log.lines(""), "\n"))
	}
}

// A trusted peer that sends no header is closed without an answer, even if it has
// a secret.
func TestLoadBalancerWithoutAHeaderIsClosed(t *testing.T) {
	host, visits := frontingHost(t)
	p, address := startProxy(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Fronts: map[string]Front{"": {Address: host}}})
	sent := [][]byte{
		initOf(t, secretOf(t, mtwiretest.PlainSecret).Key, mtwire.PaddedIntermediate),
		[]byte("PROXY TCP4 not an address\r\n"),
		[]byte("GET / HTTP/1.1\r\n\r\n"),
	}
	for _, first := range sent {
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(first)
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if b, err := io.ReadAll(conn); len(b) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%q, %v", b, err)
		}
		conn.Close()
	}
	eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
	for len(visits) > 0 { // the host may be probed at any time
		visit := <-visits
		if slices.ContainsFunc(sent, func(first []byte) bool { return bytes.HasPrefix(visit, first) }) {
			t.Error("the fronting host was visited")
		}
	}
}

// With TrustUnixSockets, a header is read on connections to Unix sockets.
func TestUnixSocketsMayBeTrusted(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	p := newProxy(t, Config{
		TrustUnixSockets: true,
		DataCenters:      allAt(dc),
		Log:              log.logger(), LogClients: true,
	})
	path := socketPath(t)
	serve(t, p, listen(t, "unix", path))
	config := &mtwire.DialConfig{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			_, err = conn.Write(header(1, "192.0.2.5:4321"))
		}
		return conn, err
	}}
	conn, err := mtwire.Dial(short(t), "tcp://unix:1?secret="+mtwiretest.FakeTLSSecret, config)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn, 1000)
	conn.Close()
	eventually(t, "a line", func() bool { return len(log.lines(" client=192.0.2.5:4321 ")) == 1 })
}

// A fronting host that takes headers gets the client's address: that of a load
// balancer's header, or else that of the connection. A client whose address is not
// known has the header of a connection without one.
func TestFrontingHostGetsTheClientsAddress(t *testing.T) {
	host, visits := frontingHost(t)
	path := socketPath(t)
	p := newProxy(t, Config{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")},
		Fronts:         map[string]Front{"": {Address: host, ProxyProtocol: ProxyProtocolV1}},
	})
	ln, unix := listen(t, "tcp", "127.0.0.1:0"), listen(t, "unix", path)
	serve(t, p, ln, unix)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, c := range []struct {
		network, address, from, header string
		want                           string
	}{
		{"tcp", ln.Addr().String(), "127.0.0.5", "", "PROXY TCP4 127.0.0.5 127.0.0.1 FROM " + port + "\r\n"},
		{"tcp", ln.Addr().String(), "127.0.0.9", string(header(2, "192.0.2.5:4321")), "PROXY TCP4 192.0.2.5 127.0.0.1 4321 " + port + "\r\n"},
		{"tcp", ln.Addr().String(), "127.0.0.9", string(header(1, "[2001:db8::5]:4321")), "PROXY TCP6 2001:db8::5 ::ffff:127.0.0.1 4321 " + port + "\r\n"},
		{"unix", path, "", "", "PROXY UNKNOWN\r\n"},
	} {
		dialer := net.Dialer{}
		if c.from != "" {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(c.from)}
		}
		conn, err := dialer.Dial(c.network, c.address)
		if err != nil {
			t.Fatal(err)
		}
		const request = "GET / HTTP/1.1\r\nHost: front.test\r\nUser-Agent: a client without a secret\r\n\r\n"
		io.WriteString(conn, c.header+request)
		if c.from != "" {
			_, local, _ := net.SplitHostPort(conn.LocalAddr().String())
			c.want = strings.ReplaceAll(c.want, "FROM", local)
		}
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if answer, err := io.ReadAll(conn); err != nil || string(answer) != "fronting" {
			t.Errorf("%q, %v", answer, err)
		}
		conn.Close()
		var got []string
		for limit := short(t); len(got) == 0 || got[len(got)-1] != c.want+request && got[len(got)-1] != c.want; {
			select {
			case visit := <-visits: // the host may be probed at any time
				got = append(got, string(visit))
			case <-limit.Done():
				t.Fatalf("the host got %q, want %q", got, c.want)
			}
		}
	}
}

// A proxy that its fronting host leads back to is noticed also behind the header of
// the proxy's own connections.
func TestSelfConnectionIsNoticedBehindAHeader(t *testing.T) {
	for _, version := range []ProxyProtocol{NoProxyProtocol, ProxyProtocolV1, ProxyProtocolV2} {
		var self *bubble
		hosts := map[string]func(net.Conn){"front.test:443": func(conn net.Conn) {
			end := &closeNotifier{Conn: conn, closed: make(chan struct{})}
			self.handle(&addressed{end, clientAddress})
			<-end.closed
		}}
		config := Config{
			Users:  onlyUser(t, mtwiretest.FakeTLSSecret),
			Fronts: map[string]Front{"": {Address: "front.test:443", ProxyProtocol: version}},
		}
		inBubble(t, config, hosts, func(t *testing.T, b *bubble) {
			self = b
			b.background.Go(func() { b.fronts.Run(b.Proxy.running) })
			time.Sleep(time.Minute)
			if len(b.log.lines("is this proxy itself")) == 0 {
				t.Errorf("version %d: %s", version, strings.Join(b.log.lines(""), "\n"))
			}
			b.closeAll(errStopping)
		})
	}
}

// closeNotifier closes a channel when it is closed itself.
type closeNotifier struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closeNotifier) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
