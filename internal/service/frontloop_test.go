package service

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
)

// A machine at 203.0.113.1 and 2001:db8::1, with a proxy on all addresses, on one of
// them, or on a Unix socket.
func TestFrontingHostsThatAreTheProxyAreFound(t *testing.T) {
	names := map[string]string{
		"mine.example": "203.0.113.1", "mine6.example": "2001:db8::1", "both.example": "198.51.100.7 203.0.113.1",
		"other.example": "198.51.100.7", "hosts.example": "127.0.1.1",
	}
	own := map[string]bool{"203.0.113.1": true, "2001:db8::1": true}
	for _, test := range []struct {
		listen, front string
		loop          bool
	}{
		{"[::]:443", "mine.example:443", true},
		{"[::]:443", "mine6.example:443", true},
		{"0.0.0.0:443", "mine.example:443", true},
		{"0.0.0.0:443", "mine6.example:443", false},
		{"203.0.113.1:443", "mine.example:443", true},
		{"203.0.113.1:443", "both.example:443", true},
		{"203.0.113.1:443", "127.0.0.2:443", false},
		{"203.0.113.1:443", "hosts.example:443", false},
		{"[::]:443", "hosts.example:443", true},
		{"[::]:443", "127.0.0.2:443", true},
		{"[::]:443", "mine.example:8443", false},
		{"[::]:443", "other.example:443", false},
		{"[::]:443", "unknown.example:443", false},
		{"127.0.0.1:8443", "0.0.0.0:8443", true},
		{"unix:/run/proxy.sock", "unix:/run/proxy.sock", true},
		{"unix:/run/proxy.sock", "unix:/run/site.sock", false},
	} {
		var listener net.Addr = &net.UnixAddr{Net: "unix", Name: strings.TrimPrefix(test.listen, "unix:")}
		if address, err := netip.ParseAddrPort(test.listen); err == nil {
			listener = net.TCPAddrFromAddrPort(address)
		}
		finder := loopFinder{
			listeners: []net.Addr{listener},
			own:       func(ip netip.Addr) bool { return own[ip.String()] || ip.IsLoopback() || ip.IsUnspecified() },
			lookup: func(_ context.Context, host string) (found []netip.Addr, err error) {
				for text := range strings.FieldsSeq(names[host]) {
					found = append(found, netip.MustParseAddr(text))
				}
				if found == nil {
					err = errors.New("no such host")
				}
				return found, err
			},
		}
		loops := finder.find(t.Context(), map[string]proxy.Front{"www.example.com": {Address: test.front}})
		if (len(loops) > 0) != test.loop {
			t.Errorf("%+v: %v", test, loops)
		}
		if test.loop && !slices.Equal(loops, []frontLoop{{"www.example.com", test.front, strings.TrimPrefix(test.listen, "unix:")}}) {
			t.Errorf("%+v: %v", test, loops)
		}
	}
}

// The warning is in the log without any client. The front of the other secret is not
// the proxy.
func TestLoopsAreWarnedOfAtTheStart(t *testing.T) {
	address := freeAddress(t)
	r := run(t, func(c *Config) {
		c.Listen = []ListenAddress{{"tcp4", address}}
		c.Secrets = []NamedSecret{{"alice", secretOf(t, mtwiretest.FakeTLSSecret)}}
		c.Fronts = []FrontAddress{{"www.example.com", proxy.Front{Address: address}}, {"", proxy.Front{Address: "127.0.0.1:1"}}}
	})
	r.Close()
	if err := r.result(t); err != nil {
		t.Fatal(err)
	}
	want := "domain=www.example.com front=" + address + " listening_on=" + address
	if log := r.log.String(); strings.Count(log, "is this proxy itself") != 1 || !strings.Contains(log, want) {
		t.Error(log)
	}
}
