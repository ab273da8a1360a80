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

// format returns a header as go-proxyproto writes it.
func format(t testing.TB, h *proxyproto.Header, tlvs ...proxyproto.TLV) string {
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// v2 returns a version 2 header of a connection between two addresses.
func v2(t testing.TB, from, to net.Addr, tlvs ...proxyproto.TLV) string {
	return format(t, proxyproto.HeaderProxyFromAddrs(2, from, to), tlvs...)
}

func tcp(text string) *net.TCPAddr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

func udp(text string) *net.UDPAddr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	own       = "own" // the address of the peer that sent the header
	none      = ""    // the zero AddrPort
)

// good returns complete headers, and the client's address in each.
func good(t testing.TB) []struct{ name, header, want string } {
	six, four := tcp("[2001:db8::7]:65535"), tcp("192.0.2.7:40000")
	unix := &net.UnixAddr{Net: "unix", Name: "/run/client.sock"}
	large := proxyproto.TLV{Type: proxyproto.PP2_TYPE_MIN_CUSTOM, Value: make([]byte, maxV2Length-12-3)}
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
		{"version 2, TLVs", v2(t, four, four,
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("proxy.example.com")},
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, 7)}), "192.0.2.7:40000"},
		{"version 2, longest", v2(t, four, four, large), "192.0.2.7:40000"},
		{"version 2, unspecified", signature + "\x21\x00\x00\x00", own},
		{"version 2, unspecified with addresses", signature + "\x21\x00\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x09\x00\x09", own},
		{"version 2, unspecified with anything", signature + "\x21\x00\x00\x03\x01\x02\x03", own},
		{"version 2, local", signature + "\x20\x00\x00\x00", own},
		{"version 2, local with addresses", signature + "\x20\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x09\x00\x09", own},
		{"version 2, local with anything", signature + "\x20\x11\x00\x03\x01\x02\x03", own},
	}
}

// send returns a loopback connection on whose client end text was written. Reads
// of the server end time out after 10 seconds.
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

// expand returns the address that want stands for.
func expand(want string, conn net.Conn) netip.AddrPort {
	switch want {
	case none:
		return netip.AddrPort{}
	case own:
		return netip.MustParseAddrPort(conn.RemoteAddr().String())
	}
	return netip.MustParseAddrPort(want)
}

// Read reads not one byte after the header: the client's bytes in the same segment
// stay in the socket.
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

// Read does not wait for a byte after the header: the server may have to send
// first.
func TestNothingIsAwaitedAfterTheHeader(t *testing.T) {
	for _, h := range good(t) {
		server, _ := send(t, h.header)
		if source, err := Read(server); err != nil || source != expand(h.want, server) {
			t.Errorf("%s: %v, %v", h.name, source, err)
		}
	}
}

// A header may arrive in any number of segments.
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

// An end before the first byte is io.EOF: some health checks connect and close. An
// end in the header is io.ErrUnexpectedEOF.
func TestTruncatedHeaderIsAnUnexpectedEnd(t *testing.T) {
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

// Bytes that no header begins with are ErrNoHeader, also if the stream ends before
// the length of the shortest header.
func TestOtherProtocolsAreNoHeader(t *testing.T) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00",
		"PROXYTCP4 192.0.2.7 192.0.2.1 40000 443\r\n",
		"proxy TCP4 192.0.2.7 192.0.2.1 40000 443\r\n",
		"\r\n\r\n\x00\r\nQUIZ\n\x21\x11\x00\x0c",
		"x",
		"PROX\r",
	} {
		server, client := send(t, text)
		client.CloseWrite()
		if source, err := Read(server); !errors.Is(err, ErrNoHeader) || source.IsValid() {
			t.Errorf("%q: %v, %v", text, source, err)
		}
	}
}

// A malformed header is ErrMalformed, without the client's address in its text.
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
		signature + "\x21\x01\x00\x00",                                         // a transport without a family
		signature + "\x21\x10\x00\x0c" + four,                                  // a family without a transport
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
			t.Errorf("the error quotes the header: %v", err)
		}
	}
}

// The length is checked before memory is allocated for it.
func TestLengthBeyondTheLimitTakesNoMemory(t *testing.T) {
	header := signature + "\x21\x11\xff\xff"
	r := strings.NewReader(header)
	allocated := testing.AllocsPerRun(100, func() {
		r.Reset(header)
		if _, err := readHeader(r); !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
	if allocated > 6 { // a buffer of maxV1Length bytes, and the error
		t.Errorf("%v allocations", allocated)
	}
}

// The caller's deadline limits how long a header may take.
func TestSilenceEndsWithTheDeadline(t *testing.T) {
	for _, begun := range []string{"", "PROXY TCP4 192.0.2.7", signature + "\x21"} {
		server, _ := send(t, begun)
		server.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := Read(server); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: %v", begun, err)
		}
	}
}

// The peer of a Unix socket has an address without a name, which is trusted by its
// type.
func TestPeersOnUnixSocketsAreTrusted(t *testing.T) {
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

// addressedPipe is a connection that has addresses alone.
type addressedPipe struct {
	net.Conn
	peer net.Addr
}

func (a addressedPipe) RemoteAddr() net.Addr { return a.peer }
func (a addressedPipe) LocalAddr() net.Addr  { return tcp("203.0.113.2:443") }

// The address that the client has connected to is the header's or, if it has none, the
// connection's.
func TestReadAddresses(t *testing.T) {
	for header, want := range map[string][2]string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n":        {"192.0.2.1:56324", "192.0.2.2:443"},
		"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 56324 1\r\n": {"[2001:db8::1]:56324", "192.0.2.2:1"},
		"PROXY UNKNOWN\r\n":                      {"203.0.113.1:1", "203.0.113.2:443"},
		"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00": {"203.0.113.1:1", "203.0.113.2:443"},
	} {
		client, server := net.Pipe()
		go client.Write([]byte(header))
		source, destination, err := ReadAddresses(addressedPipe{server, tcp("203.0.113.1:1")})
		if err != nil || source.String() != want[0] || destination.String() != want[1] {
			t.Errorf("%q: %v, %v, %v", header, source, destination, err)
		}
		client.Close()
	}
}

// Any input is a header or an error. No byte after a header is read, and no header
// is a prefix of another.
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
			t.Fatal("it is a header without its last byte too")
		}
		address, destination, err := addresses(header, addressedPipe{peer: peer})
		switch {
		case err != nil:
			if !errors.Is(err, ErrMalformed) || address.IsValid() || destination.IsValid() {
				t.Fatalf("%v, %v, %v", address, destination, err)
			}
		case address.Addr().Is4In6() || address.Addr().Zone() != "" || destination.Addr().Is4In6() || destination.Addr().Zone() != "":
			t.Fatal(address, destination)
		}
	})
}
