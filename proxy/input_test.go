package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// header is a PROXY protocol header of that version for a client.
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

// behind has a client come through a load balancer that sends a header.
func behind(header []byte) *mtwire.DialConfig {
	return &mtwire.DialConfig{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			_, err = conn.Write(header)
		}
		return conn, err
	}}
}

// "PROXY protocol v1 and v2 from trusted networks": the client behind a load
// balancer is who the header says, in the log and in the memory.
func TestLoadBalancersSayWhoTheClientIs(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	users := crowd(0, 100, mtproxy.Plain, "")
	p, address := startProxy(t, Config{
		Users: users, Log: log.logger(), LogClients: true,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		DataCenters:    map[datacenter.DC][]string{0: {dc.String()}},
	})
	for i, client := range []string{"192.0.2.5:4321", "[2001:db8:5::1]:4321"} {
		for version := 1; version <= 2; version++ {
			for _, mode := range []string{"dd", "ee"} {
				secret := users[10+i].Secret
				if secret.Mode = mtproxy.Padded; mode == "ee" {
					secret.Mode, secret.Domain = mtproxy.FakeTLS, "a.example"
				}
				conn, err := mtwire.Dial(short(t), "tcp://"+address.String()+"?secret="+secret.String(), behind(header(version, client)))
				if err != nil {
					t.Fatal(err)
				}
				echo(t, conn, 1000)
				own := conn.LocalAddr().String()
				conn.Close()
				eventually(t, "an end", func() bool { return p.Stats().Open == 0 })
				if line := log.last(); !strings.Contains(line, " client="+client+" ") && !strings.Contains(line, " client=\""+client+"\" ") ||
					!strings.Contains(line, " mode="+mode+" ") || strings.Contains(line, own) {
					t.Errorf("version %d: %s", version, line)
				}
			}
		}
		from := netip.MustParseAddrPort(client).Addr()
		if known := p.search.memory.users(from); !slices.Equal(known, []int{10 + i}) {
			t.Errorf("users %d are known at %v", known, from)
		}
	}
	if known := p.search.memory.users(netip.MustParseAddr("127.0.0.1")); known != nil {
		t.Errorf("users %d are known at the load balancer", known)
	}
}

// "An untrusted peer's header is just a stranger's bytes."
func TestNobodyElsesHeaderIsBelieved(t *testing.T) {
	host, visits := frontingHost(t)
	log := &logBuffer{}
	address := start(t, Config{
		Log: log.logger(), LogClients: true,
		TrustedProxies:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		TrustUnixSockets: true,
		Fronts:           map[string]string{"": host},
	})
	init := initOf(t, secretOf(t, mtwiretest.PlainSecret).Key, mtwire.PaddedIntermediate)
	for version := 1; version <= 2; version++ {
		fronted(t, address, visits, slices.Concat(header(version, "192.0.2.5:4321"), init))
	}
	eventually(t, "two lines", func() bool { return len(log.lines("stage=hello")) == 2 })
	if len(log.lines("192.0.2.5")) != 0 || len(log.lines("client=127.0.0.1:")) != 2 {
		t.Error(strings.Join(log.lines(""), "\n"))
	}
}

// "A trusted peer without a header is closed", even one that knows a secret,
// and gets nothing to see.
func TestLoadBalancerWithoutAHeaderIsClosed(t *testing.T) {
	host, visits := frontingHost(t)
	p, address := startProxy(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Fronts: map[string]string{"": host}})
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
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if b, err := io.ReadAll(conn); len(b) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%q, %v", b, err)
		}
		conn.Close()
	}
	eventually(t, "an end", func() bool { return p.Stats().Open == 0 })
	for len(visits) > 0 { // it may be measured at any time
		visit := <-visits
		if slices.ContainsFunc(sent, func(first []byte) bool { return bytes.HasPrefix(visit, first) }) {
			t.Error("the fronting host was visited")
		}
	}
}

// socketPath is a path for a Unix socket, which may have a hundred bytes on some
// systems. A test's own directory may have more.
func socketPath(t *testing.T) string {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "proxy")
}

// "TCP and Unix sockets, several listeners, IPv4 and IPv6": one proxy on all of
// them, in every mode.
func TestAllListenersTakeEveryMode(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	p, err := New(Config{
		Users:          []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::1/128")},
		DataCenters:    map[datacenter.DC][]string{0: {dc.String()}},
		Log:            log.logger(), LogClients: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	path := socketPath(t)
	listeners := []net.Listener{listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "[::1]:0"), listen(t, "tcp", "127.0.0.1:0"), listen(t, "unix", path)}
	serve(t, p, listeners...)
	for _, ln := range listeners {
		name, config := ln.Addr(), behind(nil)
		switch {
		case name.Network() == "unix":
			name = &net.UnixAddr{Name: "unix:1", Net: "unix"}
			config.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}
		case name.(*net.TCPAddr).IP.To4() == nil:
			config = behind(header(2, "[2001:db8::5]:4321"))
		}
		for _, m := range mtwiretest.ProxiedModes() {
			conn, err := mtwire.Dial(short(t), m.Endpoint(name), config)
			if err != nil {
				t.Fatal(ln.Addr(), err)
			}
			for _, blocks := range []int{3, 30000, 7} {
				echo(t, conn, blocks)
			}
			conn.Close()
		}
	}
	eventually(t, "the end of all", func() bool { return p.Stats().Open == 0 })
	for what, want := range map[string]int{"client=127.0.0.1:": 10, "msg=closed": 20, "client=[2001:db8::5]:4321": 5} {
		if n := len(log.lines(what)); n != want {
			t.Errorf("%d lines with %s, want %d", n, what, want)
		}
	}
}

// With TrustUnixSockets, a header is read on connections to Unix sockets.
func TestUnixSocketsMayBeTrusted(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	p, err := New(Config{
		Users:            []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}},
		TrustUnixSockets: true,
		DataCenters:      map[datacenter.DC][]string{0: {dc.String()}},
		Log:              log.logger(), LogClients: true,
	})
	if err != nil {
		t.Fatal(err)
	}
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

// Configuration that cannot be meant is refused.
func TestBadConfigurationIsRefused(t *testing.T) {
	good := []User{{Secret: secretOf(t, mtwiretest.PlainSecret)}}
	for name, config := range map[string]Config{
		"no trusted network":     {Users: good, TrustedProxies: []netip.Prefix{{}}},
		"a front without a port": {Users: good, Fronts: map[string]string{"": "front.test"}},
		"an empty data centre":   {Users: good, DataCenters: map[datacenter.DC][]string{2: nil}},
		"an unknown default":     {Users: good, DefaultDC: 77},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
