package proxyprotocol

import (
	"bytes"
	"net/netip"
	"testing"
)

// A header that is written reads back as the same address, in both versions.
// Families may differ, and the destination may be unknown. Without a source it is
// the header of a connection that has no client.
func TestHeadersAreReadAsTheyAreWritten(t *testing.T) {
	four, six, mapped := "192.0.2.7:40000", "[2001:db8::7]:65535", "[::ffff:192.0.2.7]:40000"
	for _, test := range []struct{ source, destination, v1 string }{
		{four, "198.51.100.1:443", "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"},
		{six, "[2001:db8::1]:443", "PROXY TCP6 2001:db8::7 2001:db8::1 65535 443\r\n"},
		{six, "198.51.100.1:443", "PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 65535 443\r\n"},
		{four, "[2001:db8::1]:443", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 40000 443\r\n"},
		{mapped, "198.51.100.1:443", "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"},
		{four, "", "PROXY TCP4 192.0.2.7 0.0.0.0 40000 0\r\n"},
		{mapped, "", "PROXY TCP4 192.0.2.7 0.0.0.0 40000 0\r\n"},
		{six, "", "PROXY TCP6 2001:db8::7 :: 65535 0\r\n"},
		{"[fe80::7%eth0]:1", "[fe80::1%eth0]:443", "PROXY TCP6 fe80::7 fe80::1 1 443\r\n"},
		{"", "198.51.100.1:443", "PROXY UNKNOWN\r\n"},
		{"", "", "PROXY UNKNOWN\r\n"},
	} {
		source, destination := address(test.source), address(test.destination)
		if got := V1.Append(nil, source, destination); string(got) != test.v1 {
			t.Errorf("%s to %s: %q, want %q", test.source, test.destination, got, test.v1)
		}
		for _, version := range []Version{V1, V2} {
			header := version.Append([]byte("before"), source, destination)
			if !bytes.HasPrefix(header, []byte("before")) {
				t.Fatalf("%q", header)
			}
			conn, _ := send(t, string(header[len("before"):])+"after")
			want := netip.AddrPortFrom(source.Addr().Unmap().WithZone(""), source.Port())
			if !source.IsValid() {
				want = expand(own, conn)
			}
			if got, err := Read(conn); err != nil || got != want {
				t.Errorf("version %d, %s to %s: %v, %v", version, test.source, test.destination, got, err)
			}
			rest := make([]byte, len("after"))
			if _, err := conn.Read(rest); err != nil || string(rest) != "after" {
				t.Errorf("then %q, %v", rest, err)
			}
		}
	}
	if local := V2.Append(nil, netip.AddrPort{}, netip.AddrPort{}); string(local) != signature+"\x20\x00\x00\x00" {
		t.Errorf("%q", local)
	}
	if none := None.Append(nil, address(four), address(four)); none != nil {
		t.Errorf("%q", none)
	}
}

func address(text string) netip.AddrPort {
	a, _ := netip.ParseAddrPort(text)
	return a
}

// Trim removes one complete header.
func TestTrimRemovesOneHeader(t *testing.T) {
	for _, h := range good(t) {
		if got := Trim([]byte(h.header + h.header + "hello")); string(got) != h.header+"hello" {
			t.Errorf("%s: %q", h.name, got)
		}
		if got := Trim([]byte(h.header[:len(h.header)-1])); string(got) != h.header[:len(h.header)-1] {
			t.Errorf("%s: an incomplete header became %q", h.name, got)
		}
	}
	for _, b := range []string{"", "hello", "GET / HTTP/1.1\r\n\r\n"} {
		if got := Trim([]byte(b)); string(got) != b {
			t.Errorf("%q became %q", b, got)
		}
	}
}
