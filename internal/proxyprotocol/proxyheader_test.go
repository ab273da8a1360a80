package proxyprotocol

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/pires/go-proxyproto"
)

// wire is a header as go-proxyproto writes it.
func wire(t testing.TB, h *proxyproto.Header, tlvs ...proxyproto.TLV) string {
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// v2 is a version 2 header for a connection from one address to another.
func v2(t testing.TB, from, to net.Addr, tlvs ...proxyproto.TLV) string {
	return wire(t, proxyproto.HeaderProxyFromAddrs(2, from, to), tlvs...)
}

func tcp(text string) *net.TCPAddr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

func udp(text string) *net.UDPAddr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	own       = "own" // stands for the address of the one in front
	none      = ""
)

// good are whole headers, and the client's address that each tells.
func good(t testing.TB) []struct{ name, header, want string } {
	six, four := tcp("[2001:db8::7]:65535"), tcp("192.0.2.7:40000")
	unix := &net.UnixAddr{Net: "unix", Name: "/run/client.sock"}
	large := proxyproto.TLV{Type: proxyproto.PP2_TYPE_MIN_CUSTOM, Value: make([]byte, maxV2Len-12-3)}
	return []struct{ name, header, want string }{
		{"version 1, TCP4", "PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n", "192.0.2.7:40000"},
		{"version 1, TCP4, shortest", "PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", "1.2.3.4:0"},
		{"version 1, TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 65535 443\r\n", "[2001:db8::7]:65535"},
		{"version 1, TCP6, shortest", "PROXY TCP6 :: :: 1 2\r\n", "[::]:1"},
		{"version 1, IPv4 as IPv6", "PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 443\r\n", "192.0.2.7:40000"},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", own},
		{"version 1, unknown, longest", "PROXY UNKNOWN" + strings.Repeat(" ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 2) + " 65535 65535\r\n", own},
		{"version 2, TCP4", v2(t, four, four), "192.0.2.7:40000"},
		{"version 2, TCP6", v2(t, six, six), "[2001:db8::7]:65535"},
		{"version 2, IPv4 as IPv6", signature + "\x21\x21\x00\x24" + strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07", 2) + "\x9c\x40\x01\xbb", "192.0.2.7:40000"},
		{"version 2, UDP4", v2(t, udp("192.0.2.7:9"), udp("192.0.2.1:9")), "192.0.2.7:9"},
		{"version 2, UDP6", v2(t, udp("[2001:db8::7]:9"), udp("[::1]:9")), "[2001:db8::7]:9"},
		{"version 2, Unix", v2(t, unix, unix), none},
		{"version 2, remarks", v2(t, four, four,
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("proxy.example.com")},
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, 7)}), "192.0.2.7:40000"},
		{"version 2, longest", v2(t, four, four, large), "192.0.2.7:40000"},
		{"version 2, local", signature + "\x20\x00\x00\x00", own},
		{"version 2, local with addresses", signature + "\x20\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x09\x00\x09", own},
		{"version 2, local with anything", signature + "\x20\x11\x00\x03\x01\x02\x03", own},
	}
}

// send writes to a server's connection over loopback, and Read reads there.
// The server's side goes on to be read; nobody waits for longer than 10 s.
func send(t *testing.T, text string) (server, client *net.TCPConn) {
	client, server, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	server.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := client.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// expand is the address that want stands for.
func expand(want string, conn net.Conn) netip.AddrPort {
	switch want {
	case none:
		return netip.AddrPort{}
	case own:
		return netip.MustParseAddrPort(conn.RemoteAddr().String())
	}
	return netip.MustParseAddrPort(want)
}

// "Not one byte behind the header is read": what the client sent in the same
// segment is still in the socket.
func TestClientsOwnBytesStayInTheSocket(t *testing.T) {
	for _, h := range good(t) {
		server, client := send(t, h.header+"\nPROXY \r\nhello")
		client.CloseWrite()
		source, err := Read(server)
		if want := expand(h.want, server); err != nil || source != want {
			t.Errorf("%s: %v, %v, want %v", h.name, source, err, want)
		}
		if rest, err := io.ReadAll(server); string(rest) != "\nPROXY \r\nhello" || err != nil {
			t.Errorf("%s: then %q, %v", h.name, rest, err)
		}
	}
}

// The receiver may not wait for a byte that the header does not have: the
// server may be the one who speaks first.
func TestNothingIsAwaitedBehindTheHeader(t *testing.T) {
	for _, h := range good(t) {
		server, _ := send(t, h.header)
		if source, err := Read(server); err != nil || source != expand(h.want, server) {
			t.Errorf("%s: %v, %v", h.name, source, err)
		}
	}
}

// Headers are mostly sent at once, but TCP promises nothing.
func TestHeaderMayArriveByteByByte(t *testing.T) {
	for _, h := range good(t) {
		client, server := net.Pipe()
		client.SetDeadline(time.Now().Add(10 * time.Second))
		server.SetDeadline(time.Now().Add(10 * time.Second))
		written := make(chan error, 1)
		go func() {
			for _, b := range []byte(h.header) {
				if _, err := client.Write([]byte{b}); err != nil {
					written <- err
					return
				}
			}
			written <- nil
		}()
		source, err := Read(server)
		if h.want == own {
			h.want = none // a pipe has no IP address
		}
		if err != nil || source != expand(h.want, server) {
			t.Errorf("%s: %v, %v", h.name, source, err)
		}
		server.Close()
		if err := <-written; err != nil {
			t.Errorf("%s: not all of it was read: %v", h.name, err)
		}
	}
}

// Of an end before the first byte nobody need hear: balancers look in like
// that. An end anywhere later is told as one.
func TestCutHeaderIsAnUnexpectedEnd(t *testing.T) {
	for _, h := range good(t) {
		for n := range len(h.header) {
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if header, err := readHeader(strings.NewReader(h.header[:n])); err != want {
				t.Errorf("%s: after %d of %d bytes: %q, %v", h.name, n, len(h.header), header, err)
			}
		}
	}
}

func TestWhatIsNoHeaderIsSaidToBeNone(t *testing.T) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00",
		"PROXYTCP4 192.0.2.7 192.0.2.1 40000 443\r\n",
		"proxy TCP4 192.0.2.7 192.0.2.1 40000 443\r\n",
		"\r\n\r\n\x00\r\nQUIZ\n\x21\x11\x00\x0c",
		"x",      // and then the end
		"PROX\r", // the same
	} {
		server, client := send(t, text)
		client.CloseWrite()
		if source, err := Read(server); !errors.Is(err, ErrNoHeader) || source.IsValid() {
			t.Errorf("%q: %v, %v", text, source, err)
		}
	}
}

// "Secrets and client addresses never appear in logs or errors."
func TestMalformedHeadersAreRefusedWithoutQuotingThem(t *testing.T) {
	four := "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x09\x00\x09"
	for _, text := range []string{
		"PROXY TCP4 192.0.2.777 192.0.2.1 40000 443\r\n",
		"PROXY TCP4 2001:db8::77 192.0.2.1 40000 443\r\n",
		"PROXY TCP6 192.0.2.77 2001:db8::1 40000 443\r\n",
		"PROXY TCP6 fe80::77%eth0 fe80::1 40000 443\r\n",
		"PROXY TCP4 192.0.2.77 192.0.2.1 65536 443\r\n",
		"PROXY TCP4 192.0.2.77 192.0.2.1 -1 443\r\n",
		"PROXY TCP4 192.0.2.77 192.0.2.1 080 443\r\n",
		"PROXY TCP4 192.0.2.77 192.0.2.1 40000\r\n",
		"PROXY TCP4 192.0.2.77 192.0.2.1 40000 443 77\r\n",
		"PROXY TCP4 192.0.2.77 192.0.2.1 40000 443\n",
		"PROXY TCP5 192.0.2.77 192.0.2.1 40000 443\r\n",
		"PROXY  TCP4 192.0.2.77 192.0.2.1 40000 443\r\n",
		"PROXY TCP4\r\n\r\n\r\n\r\n",
		"PROXY UNKNOWN\n\n77",
		"PROXY UNKNOWN " + strings.Repeat("7", 92) + "\r\n", // 108 bytes
		signature + "\x11\x11\x00\x0c" + four,               // version 1
		signature + "\x22\x11\x00\x0c" + four,               // an unknown command
		signature + "\x21\x13\x00\x0c" + four,               // an unknown transport
		signature + "\x21\x41\x00\x0c" + four,               // an unknown family
		signature + "\x20\x41\x00\x0c" + four,
		signature + "\x21\x00\x00\x00",                                         // no family
		signature + "\x21\x11\x00\x0b" + four,                                  // too short for the family
		signature + "\x21\x11\x10\x01" + four + strings.Repeat("7", 4096+1-12), // too long
	} {
		server, client := send(t, text)
		client.CloseWrite()
		source, err := Read(server)
		if !errors.Is(err, ErrMalformed) || source.IsValid() {
			t.Errorf("%q: %v, %v", text, source, err)
		}
		if err != nil && strings.Contains(err.Error(), "77") {
			t.Errorf("the error says too much: %v", err)
		}
	}
}

// "Lengths checked before memory is taken."
func TestLengthBeyondTheLimitTakesNoMemory(t *testing.T) {
	header := signature + "\x21\x11\xff\xff"
	r := strings.NewReader(header)
	allocated := testing.AllocsPerRun(100, func() {
		r.Reset(header)
		if _, err := readHeader(r); !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
	if allocated > 6 { // a line's length, and the error
		t.Errorf("%v allocations", allocated)
	}
}

// How long a header may take is the caller's business, by the deadline.
func TestSilenceEndsWithTheDeadline(t *testing.T) {
	for _, begun := range []string{"", "PROXY TCP4 192.0.2.7", signature + "\x21"} {
		server, _ := send(t, begun)
		server.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := Read(server); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: %v", begun, err)
		}
	}
}

func TestTrustedAreAddressesPrefixesAndUnixSockets(t *testing.T) {
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
		trust, err := ParseTrust(test.texts)
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

func TestPeersOnUnixSocketsAreKnownAsSuch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if trust := (Trust{Unix: true}); !trust.Contains(server.RemoteAddr()) {
		t.Errorf("%#v is not trusted", server.RemoteAddr())
	}
	client.Write([]byte("PROXY UNKNOWN\r\n"))
	if source, err := Read(server); err != nil || source.IsValid() {
		t.Errorf("%v, %v", source, err)
	}
}

func TestBadTrustIsAnErrorThatSaysWhatIsWanted(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "want an IP address",
		"localhost":        "want an IP address",
		"10.0.0.0/33":      "want an IP address",
		"10.0.0.1:443":     "want an IP address",
		"fe80::1%eth0":     "leave out the zone",
		"fe80::%eth0/10":   "want an IP address",
		"::ffff:1.2.3.4/8": "it is not IPv4",
	} {
		if _, err := ParseTrust([]string{"127.0.0.1", text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Whatever comes, it is a header or an error; no byte behind a header is
// touched, and no header has another as its beginning.
func FuzzRead(f *testing.F) {
	for _, h := range good(f) {
		f.Add([]byte(h.header + "rest"))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	peer := tcp("203.0.113.1:1")
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		header, err := readHeader(r)
		if err != nil {
			if header != nil {
				t.Fatalf("%q beside %v", header, err)
			}
			return
		}
		if !bytes.HasPrefix(data, header) || r.Len() != len(data)-len(header) {
			t.Fatalf("%d bytes of header, %d of %d left", len(header), r.Len(), len(data))
		}
		if _, err := readHeader(bytes.NewReader(header[:len(header)-1])); err == nil {
			t.Fatal("it is one without its last byte as well")
		}
		address, err := source(header, peer)
		switch {
		case err != nil:
			if !errors.Is(err, ErrMalformed) || address.IsValid() {
				t.Fatalf("%v, %v", address, err)
			}
		case address.Addr().Is4In6() || address.Addr().Zone() != "":
			t.Fatal(address)
		}
	})
}
