package proxyprotocol

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// addAll returns a Trust of texts.
func addAll(texts ...string) (t Trust, err error) {
	for _, text := range texts {
		if err := t.Add(text); err != nil {
			return t, err
		}
	}
	return t, nil
}

func TestTrustedAreAddressesNetworksAndUnixSockets(t *testing.T) {
	unix := &net.UnixAddr{Net: "unix"}
	for _, test := range []struct {
		texts   []string
		yes, no []net.Addr
	}{
		{nil, nil, []net.Addr{tcp("127.0.0.1:1"), tcp("[::1]:1"), unix, nil}},
		{[]string{"127.0.0.1"}, []net.Addr{tcp("127.0.0.1:1"), tcp("[::ffff:127.0.0.1]:1")}, []net.Addr{tcp("127.0.0.2:1"), tcp("[::1]:1"), unix}},
		{[]string{"10.1.2.3/8", "unix"}, []net.Addr{tcp("10.255.0.1:1"), unix}, []net.Addr{tcp("11.0.0.1:1")}},
		{[]string{"::ffff:10.0.0.0/104"}, []net.Addr{tcp("10.255.0.1:1")}, []net.Addr{tcp("11.0.0.1:1")}},
		{[]string{"::ffff:10.0.0.1"}, []net.Addr{tcp("10.0.0.1:1")}, []net.Addr{tcp("10.0.0.2:1")}},
		{[]string{"2001:db8::/32", "::1"}, []net.Addr{tcp("[2001:db8:7::]:1"), tcp("[::1]:1")}, []net.Addr{tcp("[2001:db9::]:1"), tcp("127.0.0.1:1")}},
		{[]string{"fe80::/10"}, []net.Addr{tcp("[fe80::1%eth0]:1"), tcp("[fe80::1]:1")}, []net.Addr{tcp("[2001:db8::]:1")}},
		{[]string{"0.0.0.0/0"}, []net.Addr{tcp("192.0.2.7:1")}, []net.Addr{tcp("[::1]:1"), unix}},
	} {
		trust, err := addAll(test.texts...)
		if err != nil {
			t.Errorf("%q: %v", test.texts, err)
		}
		for _, peer := range test.yes {
			if !trust.Contains(peer) {
				t.Errorf("%q does not contain %v", test.texts, peer)
			}
		}
		for _, peer := range test.no {
			if trust.Contains(peer) {
				t.Errorf("%q contains %v", test.texts, peer)
			}
		}
	}
}

// The error for a bad text tells the operator what is accepted.
func TestBadTrustIsRefusedWithAHint(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "want an IP address",
		"localhost":        "want an IP address",
		"10.0.0.0/33":      "want an IP address",
		"10.0.0.1:443":     "want an IP address",
		"fe80::1%eth0":     "remove the zone",
		"fe80::%eth0/10":   "want an IP address",
		"::ffff:1.2.3.4/8": "it is not IPv4",
	} {
		if _, err := addAll("127.0.0.1", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A network that was not parsed from a text is checked and normalized too.
func TestNetworksAreMaskedAndUnmapped(t *testing.T) {
	var trust Trust
	for _, network := range []string{"10.1.2.3/8", "::ffff:192.0.2.7/120"} {
		if err := trust.AddNetwork(netip.MustParsePrefix(network)); err != nil {
			t.Error(err)
		}
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}
	if !slices.Equal(trust.Networks, want) {
		t.Errorf("%v, want %v", trust.Networks, want)
	}
	for _, network := range []netip.Prefix{{}, netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 33)} {
		if err := trust.AddNetwork(network); err == nil || len(trust.Networks) != 2 {
			t.Errorf("%v: %v, %v", network, err, trust.Networks)
		}
	}
}
