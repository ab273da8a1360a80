package datacenter

import (
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// These are the addresses that public clients dial first, as their lists have
// them.
func TestFirstAddressOfEachDataCenter(t *testing.T) {
	for _, c := range []struct {
		dc         DC
		ipv4, ipv6 string
	}{
		{1, "149.154.175.50:443", "[2001:b28:f23d:f001::a]:443"},
		{2, "149.154.167.51:443", "[2001:67c:4e8:f002::a]:443"},
		{3, "149.154.175.100:443", "[2001:b28:f23d:f003::a]:443"},
		{4, "149.154.167.91:443", "[2001:67c:4e8:f004::a]:443"},
		{5, "149.154.171.5:443", "[2001:b28:f23f:f005::a]:443"},
		{-1, "149.154.175.50:443", "[2001:b28:f23d:f001::a]:443"},
		{-2, "149.154.167.222:443", "[2001:67c:4e8:f002::b]:443"},
		{-4, "149.154.166.120:443", "[2001:67c:4e8:f004::b]:443"},
		{10001, "149.154.175.10:443", "[2001:b28:f23d:f001::e]:443"},
		{10002, "149.154.167.40:443", "[2001:67c:4e8:f002::e]:443"},
		{10003, "149.154.175.117:443", "[2001:b28:f23d:f003::e]:443"},
		{-10002, "149.154.167.40:443", "[2001:67c:4e8:f002::e]:443"},
		{203, "91.105.192.100:443", "[2a0a:f280:203:a:5000::100]:443"},
	} {
		d, ok := Lookup(c.dc)
		if !ok {
			t.Errorf("DC %v is missing", c.dc)
			continue
		}
		if d.IPv4[0].String() != c.ipv4 || d.IPv6[0].String() != c.ipv6 {
			t.Errorf("DC %v: %v and %v, want %s and %s", c.dc, d.IPv4[0], d.IPv6[0], c.ipv4, c.ipv6)
		}
	}
}

// The init payload needs the sign, also if media has no addresses of its own.
func TestLookupKeepsTheSign(t *testing.T) {
	for n := DC(1); n <= 5; n++ {
		for _, dc := range []DC{n, -n} {
			if d, ok := Lookup(dc); !ok || d.DC != dc {
				t.Errorf("Lookup(%v) has DC %v, %v", dc, d.DC, ok)
			}
		}
	}
	for n := DC(10001); n <= 10003; n++ {
		for _, dc := range []DC{n, -n} {
			if d, ok := Lookup(dc); !ok || d.DC != dc || !d.DC.Test() {
				t.Errorf("Lookup(%v) has DC %v, %v", dc, d.DC, ok)
			}
		}
	}
}

// 0 is no data centre, and most random bytes are none.
func TestLookupRefusesUnknownNumbers(t *testing.T) {
	known := 0
	for n := math.MinInt16; n <= math.MaxInt16; n++ {
		if _, ok := Lookup(DC(n)); ok {
			known++
		}
	}
	// Five in production and three in test, each with media, and the CDN. Clients
	// that negate every number for media use -203 too.
	if known != 2*(5+3+1) {
		t.Errorf("%d of the 65536 numbers are known", known)
	}
	for _, dc := range []DC{0, 6, -6, 10000, 10004, -10005, 10203, math.MinInt16} {
		if d, ok := Lookup(dc); ok {
			t.Errorf("Lookup(%v) = %v", dc, d)
		}
	}
}

// Specification: https://core.telegram.org/mtproto/transports#uri-format
func TestDataCenterURLs(t *testing.T) {
	for _, c := range []struct {
		dc               DC
		webSocket, https string
	}{
		{1, "wss://pluto.web.telegram.org/apiws", "https://pluto.web.telegram.org/apiw1"},
		{2, "wss://venus.web.telegram.org/apiws", "https://venus.web.telegram.org/apiw1"},
		{3, "wss://aurora.web.telegram.org/apiws", "https://aurora.web.telegram.org/apiw1"},
		{4, "wss://vesta.web.telegram.org/apiws", "https://vesta.web.telegram.org/apiw1"},
		{5, "wss://flora.web.telegram.org/apiws", "https://flora.web.telegram.org/apiw1"},
		{-2, "wss://venus-1.web.telegram.org/apiws", "https://venus-1.web.telegram.org/apiw1"},
		{-5, "wss://flora-1.web.telegram.org/apiws", "https://flora-1.web.telegram.org/apiw1"},
		{10002, "wss://venus.web.telegram.org/apiws_test", "https://venus.web.telegram.org/apiw_test1"},
		{-10003, "wss://aurora-1.web.telegram.org/apiws_test", "https://aurora-1.web.telegram.org/apiw_test1"},
		{203, "", ""},
	} {
		d, ok := Lookup(c.dc)
		if !ok || d.WebSocketURL() != c.webSocket || d.HTTPSURL() != c.https {
			t.Errorf("DC %v: %q and %q, want %q and %q", c.dc, d.WebSocketURL(), d.HTTPSURL(), c.webSocket, c.https)
		}
	}
}

// Every address parses, has its column's family and is public. No address and no
// number occurs twice.
func TestDataCenterTableIsSound(t *testing.T) {
	numbers := make(map[DC]bool)
	addrs := make(map[netip.AddrPort]DC)
	for _, d := range Table() {
		if numbers[d.DC] {
			t.Errorf("DC %v is in the table twice", d.DC)
		}
		numbers[d.DC] = true
		if len(d.IPv4) == 0 || len(d.IPv6) == 0 {
			t.Errorf("DC %v lacks an address family", d.DC)
		}
		for _, a := range slices.Concat(d.IPv4, d.IPv6) {
			if a.Addr().Is4() != slices.Contains(d.IPv4, a) || !a.Addr().IsGlobalUnicast() || a.Addr().IsPrivate() {
				t.Errorf("DC %v: %v in the wrong column, or not public", d.DC, a)
			}
			if other, seen := addrs[a]; seen {
				t.Errorf("%v is listed for DC %v and DC %v", a, other, d.DC)
			}
			addrs[a] = d.DC
		}
		if u, err := url.Parse(d.WebSocketURL()); err != nil || u.Host != d.Host() {
			t.Errorf("DC %v: %q, %v", d.DC, d.WebSocketURL(), err)
		}
		if found, ok := Lookup(d.DC); !ok || !slices.Equal(found.IPv4, d.IPv4) {
			t.Errorf("DC %v is listed but not found as it is listed", d.DC)
		}
	}
	for _, row := range table {
		for _, text := range strings.Fields(row.ipv4 + " " + row.ipv6) {
			if a, err := netip.ParseAddr(text); err != nil || a.String() != text {
				t.Errorf("DC %v: %q is not the usual spelling of an address: %v", row.dc, text, err)
			}
		}
	}
	if _, err := time.Parse(time.DateOnly, TableDate); err != nil {
		t.Error(err)
	}
}

// All addresses on one port come before the next port.
func TestAddressesComeByPort(t *testing.T) {
	d, _ := Lookup(2)
	want := []string{
		"149.154.167.51:443", "95.161.76.100:443",
		"149.154.167.51:80", "95.161.76.100:80",
		"149.154.167.51:5222", "95.161.76.100:5222",
	}
	var got []string
	for _, a := range d.IPv4 {
		got = append(got, a.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Lookup and Table return new slices.
func TestCallersCannotChangeTheTable(t *testing.T) {
	for range 2 {
		all := Table()
		d, _ := Lookup(2)
		if d.IPv4[0].String() != "149.154.167.51:443" || all[1].IPv4[0] != d.IPv4[0] {
			t.Fatalf("DC 2 is at %v and %v", d.IPv4[0], all[1].IPv4[0])
		}
		clear(d.IPv4)
		clear(all[1].IPv4)
		clear(all)
	}
}
