package wsconn

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/mtwire/mtwire/frame"
)

var errDeadline = os.ErrDeadlineExceeded

// "Messages: binary; borders meaningless, treat as a byte stream."
func TestMessagesAreOneByteStream(t *testing.T) {
	for name, sizes := range map[string][]int{
		"Tiny":  {1, 2, 1, 3, 0, 5, 1, 1, 1, 8},
		"Mixed": {1, 125, 126, 127, 4081, 4096, 65535, 65536, 1},
		"Big":   {3 << 20, 1, 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			eachSide(t, func(t *testing.T, from, to *Conn) {
				var want []byte
				for _, n := range sizes {
					p := make([]byte, n)
					rand.Read(p)
					want = append(want, p...)
				}
				sent := make(chan error, 1)
				go func() {
					rest := want
					for _, n := range sizes {
						p := bytes.Clone(rest[:n])
						if k, err := from.Write(p); k != n || err != nil {
							sent <- err
							return
						}
						if !bytes.Equal(p, rest[:n]) {
							sent <- errors.New("Write changed the caller's bytes")
							return
						}
						rest = rest[n:]
					}
					sent <- nil
				}()
				got := make([]byte, len(want))
				if _, err := io.ReadFull(to, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Error("stream differs")
				}
				if err := <-sent; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// One Write is one message is one write below, so that a packet is one TCP
// segment or one TLS record where it fits.
func TestOneWriteIsOneWriteBelow(t *testing.T) {
	a, b := tcpPair(t)
	ca, cb := &countingConn{Conn: a}, &countingConn{Conn: b}
	client, server := upgradedPair(t, ca, cb, 0)
	for _, n := range []int{1, 40, 200, 5000, 60000} {
		p := make([]byte, n)
		for name, way := range map[string]struct {
			from, to *Conn
			below    *countingConn
		}{"client": {client, server, ca}, "server": {server, client, cb}} {
			way.below.reset()
			if _, err := way.from.Write(p); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(way.to, p); err != nil {
				t.Fatal(err)
			}
			if got := way.below.count(); got != 1 {
				t.Errorf("%s, %d bytes: %d writes below, want 1", name, n, got)
			}
		}
	}
}

// A packet costs no allocation when no deadline is set.
func TestTransferDoesNotAllocate(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		p, q := make([]byte, 2000), make([]byte, 2000)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := from.Write(p); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(to, q); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > 0 {
			t.Errorf("%.1f allocations for a message there", allocs)
		}
	})
}

// A normal close of the peer ends the stream, after all that was sent before.
func TestPeersCloseIsEOFAfterItsData(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		if _, err := from.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- from.Close() }()
		got, err := io.ReadAll(to)
		if err != nil || string(got) != "last words" {
			t.Errorf("read %q, %v", got, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if _, err := to.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("second read: %v, want EOF for ever", err)
		}
		if n, err := to.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to a closed peer: %d, %v", n, err)
		}
		if _, err := from.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
		if _, err := from.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after Close: %v", err)
		}
		if err := from.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
	})
}

// "Close frame, code 1000, reason = decimal code left-padded with spaces."
func TestCloseReasonCarriesTransportErrorBothWays(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		if _, err := from.Write([]byte("in band")); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- from.CloseTransportError(404) }()
		got, err := io.ReadAll(to)
		var te *frame.TransportError
		if string(got) != "in band" || !errors.As(err, &te) || te.Code != 404 {
			t.Errorf("read %q, %v", got, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := from.CloseTransportError(404); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second: %v", err)
		}
	})
}

// The worked form of the specification, byte for byte: 88, length 12, 1000,
// then seven spaces and three digits.
func TestCloseFrameOnTheWire(t *testing.T) {
	a, b := tcpPair(t)
	cb := &countingConn{Conn: b}
	client, server := upgradedPair(t, a, cb, time.Second)
	cb.reset()
	go io.Copy(io.Discard, client)
	if err := server.CloseTransportError(404); err != nil {
		t.Fatal(err)
	}
	want := "\x88\x0c\x03\xe8       404"
	if got := cb.writes[0]; string(got) != want {
		t.Errorf("close frame % x, want % x", got, want)
	}
}

// "Reason = decimal code left-padded with spaces": others are normal closes.
func TestCloseReasonIsParsed(t *testing.T) {
	for reason, code := range map[string]uint32{
		"       404": 404, "       429": 429, "404": 404, "2147483648": 1 << 31,
		"": 0, "          ": 0, "bye": 0, "         0": 0, "       -40": 0, "       +40": 0,
		"2147483649": 0, "4294967295": 0, "        404": 0, "404       ": 0,
	} {
		e, ok := parseCloseReason(reason)
		if ok != (code != 0) || ok && e.Code != code {
			t.Errorf("%q: %v, %v, want %d", reason, e, ok, code)
		}
	}
	for _, code := range []uint32{1, 404, 1 << 31} {
		if e, ok := parseCloseReason(closeReason(code)); !ok || e.Code != code {
			t.Errorf("%d does not survive: %v", code, e)
		}
	}
}

// A connection that ends without a close frame ends the stream between frames,
// and is an error inside one.
func TestConnectionEndInsideFrameIsUnexpected(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  error
	}{
		"Between": {"\x82\x02hi", io.EOF},
		"Header":  {"\x82\x02hi\x82", io.ErrUnexpectedEOF},
		"Payload": {"\x82\x02hi\x82\x05lo", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			client, server := upgradedPair(t, a, b, time.Second)
			b.Write([]byte(c.bytes))
			b.Close()
			got, err := io.ReadAll(client)
			if err == nil {
				err = io.EOF
			}
			if string(got) != "hi" || err != c.want {
				t.Errorf("read %q, %v, want %v", got, err, c.want)
			}
			server.Close()
		})
	}
}

// "Messages: binary": anything else is refused, and the peer is told with 1003.
func TestTextMessageIsRefused(t *testing.T) {
	a, b := tcpPair(t)
	ch := serveAsync(t.Context(), b, nil)
	ws, _, err := websocket.Dial(t.Context(), "ws://dc.example/apiws", &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{DialContext: handOver(a)}},
		Subprotocols: []string{"binary"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	s := <-ch
	if s.err != nil {
		t.Fatal(s.err)
	}
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.conn.Read(make([]byte, 10)); !errors.Is(err, ErrTextMessage) {
			t.Fatalf("read: %v", err)
		}
	}
	go s.conn.Close()
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("peer saw %v, want status 1003", err)
	}
}

// A deadline that passes while nothing comes unblocks at once and loses
// nothing.
func TestIdleReadDeadlineCanBeRetried(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		p := make([]byte, 10)
		for range 3 {
			failed := make(chan error, 1)
			go func() {
				_, err := to.Read(p)
				failed <- err
			}()
			if err := to.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if err := <-failed; !isTimeout(err) {
				t.Fatalf("read: %v, want a timeout", err)
			}
		}
		to.SetReadDeadline(time.Time{})
		from.Write([]byte("still here"))
		if n, err := io.ReadFull(to, p); err != nil || string(p[:n]) != "still here" {
			t.Errorf("read %q, %v", p[:n], err)
		}
	})
}

// A deadline inside a frame loses the border; a loop that retries timeouts
// must not turn for ever.
func TestReadDeadlineInsideFrameBreaksTheDirection(t *testing.T) {
	a, b := tcpPair(t)
	client, _ := upgradedPair(t, a, b, time.Second)
	b.Write([]byte("\x82\x05lo"))
	client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	p := make([]byte, 10)
	if _, err := client.Read(p); !isTimeout(err) {
		t.Fatalf("first read: %v, want a timeout", err)
	}
	client.SetReadDeadline(time.Time{})
	b.Write([]byte("ngx"))
	for range 2 {
		if n, err := client.Read(p); n != 0 || err != ErrBroken {
			t.Fatalf("later read: %d, %v, want ErrBroken", n, err)
		}
	}
	if _, err := client.Write(p); err != nil {
		t.Errorf("the other direction: %v", err)
	}
}

// A deadline unblocks a Write that the peer does not take, and one that has
// passed before the Write costs nothing.
func TestWriteDeadline(t *testing.T) {
	a, b := net.Pipe()
	client, server := upgradedPair(t, a, b, time.Second)
	client.SetWriteDeadline(time.Now().Add(-time.Second))
	if n, err := client.Write([]byte("x")); n != 0 || !isTimeout(err) {
		t.Fatalf("write: %d, %v, want a timeout", n, err)
	}
	client.SetWriteDeadline(time.Time{})
	go client.Write([]byte("x"))
	if _, err := server.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	client.SetDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := client.Write(make([]byte, 100)); n != 0 || !isTimeout(err) {
		t.Fatalf("write: %d, %v, want a timeout", n, err)
	}
	client.SetDeadline(time.Time{})
	if n, err := client.Write([]byte("x")); n != 0 || err != ErrBroken {
		t.Errorf("later write: %d, %v, want ErrBroken", n, err)
	}
	if err := client.CloseTransportError(404); !errors.Is(err, ErrBroken) {
		t.Errorf("close frame cannot be sent, and the error is %v", err)
	}
}

// Close ends soon though the peer neither reads nor closes, and unblocks Read
// and Write.
func TestCloseDoesNotWaitForSilentPeer(t *testing.T) {
	a, b := net.Pipe()
	client, _ := upgradedPair(t, a, b, 20*time.Millisecond)
	failed := make(chan error, 2)
	go func() {
		_, err := client.Read(make([]byte, 1))
		failed <- err
	}()
	go func() {
		_, err := client.Write([]byte("nobody reads this"))
		failed <- err
	}()
	start := time.Now()
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("unblocked with %v, want net.ErrClosed", err)
		}
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
	if err := client.SetReadDeadline(time.Now().Add(time.Hour)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("deadline after Close: %v", err)
	}
}

// Nothing runs on behind a connection that was closed.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble ends with an error if a goroutine inside it does not.
		a, b := net.Pipe()
		client, server := upgradedPair(t, a, b, time.Second)
		client.SetDeadline(time.Now().Add(time.Hour))
		go client.Close()
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
		server.Close()
	})
}

// Logs and limits go by the peer's real address.
func TestAddressesAreThoseBelow(t *testing.T) {
	a, b := tcpPair(t)
	client, server := upgradedPair(t, a, b, 0)
	if client.LocalAddr().String() != a.LocalAddr().String() ||
		client.RemoteAddr().String() != a.RemoteAddr().String() ||
		server.LocalAddr().String() != b.LocalAddr().String() ||
		server.RemoteAddr().String() != b.RemoteAddr().String() {
		t.Error("addresses are not the TCP connection's")
	}
}

// The wss form of the specification: the same inside TLS.
func TestSecureWebSocket(t *testing.T) {
	cert, pool := certificate(t, "venus.web.telegram.org")
	a, b := tcpPair(t)
	ch := serveAsync(t.Context(), tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}}), nil)
	client, err := Dial(t.Context(), "wss://venus.web.telegram.org/apiws", &DialConfig{
		DialContext:     handOver(a),
		TLSClientConfig: &tls.Config{RootCAs: pool},
		Header:          http.Header{"Origin": {"https://web.telegram.org"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := <-ch
	if s.err != nil {
		t.Fatal(s.err)
	}
	go s.conn.Write([]byte("inside TLS"))
	p := make([]byte, 10)
	if _, err := io.ReadFull(client, p); err != nil || string(p) != "inside TLS" {
		t.Errorf("read %q, %v", p, err)
	}
	go s.conn.Close()
	client.Close()

	a, b = tcpPair(t)
	ch = serveAsync(t.Context(), tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}}), nil)
	_, err = Dial(t.Context(), "wss://venus.web.telegram.org/apiws", &DialConfig{DialContext: handOver(a)})
	var unknown *tls.CertificateVerificationError
	if !errors.As(err, &unknown) {
		t.Errorf("self-signed certificate: %v", err)
	}
	if s := <-ch; s.err == nil {
		t.Error("server took a client that refused its certificate")
	}
}

// Accept serves those who run their own http.Server.
func TestAcceptInsideHTTPServer(t *testing.T) {
	served := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, nil)
		if err == nil {
			_, err = io.Copy(c, c)
			c.Close()
		}
		served <- err
	}))
	defer srv.Close()
	url := "ws" + strings.TrimPrefix(srv.URL, "http")
	client, err := Dial(t.Context(), url+"/apiws_test", nil)
	if err != nil {
		t.Fatal(err)
	}
	p := []byte("there and back")
	client.Write(p)
	q := make([]byte, len(p))
	if _, err := io.ReadFull(client, q); err != nil || !bytes.Equal(p, q) {
		t.Errorf("read %q, %v", q, err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	_, err = Dial(t.Context(), url+"/elsewhere", nil)
	var he *HandshakeError
	if !errors.As(err, &he) || he.Status != http.StatusNotFound {
		t.Errorf("wrong path: %v", err)
	}
	if err := <-served; !errors.As(err, &he) || he.Path != "/elsewhere" {
		t.Errorf("server says %v", err)
	}
}

// frameCursor must see the same borders that frameLength writes.
func TestFrameCursorFindsBorders(t *testing.T) {
	for _, masked := range []bool{false, true} {
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 70000} {
			b := frameOf(n, masked)
			if len(b) != frameLength(n, masked) {
				t.Fatalf("frameLength(%d, %v) = %d, want %d", n, masked, frameLength(n, masked), len(b))
			}
			b = append(b, b...)
			for _, step := range []int{1, 3, 4096} {
				var c frameCursor
				for i := 0; i < len(b); i += step {
					c.advance(b[i:min(i+step, len(b))])
					end := min(i+step, len(b))
					if want := end%(len(b)/2) == 0; c.atBorder() != want {
						t.Fatalf("n %d, masked %v, step %d: border at %d is %v", n, masked, step, end, !want)
					}
				}
			}
		}
	}
}

func frameOf(n int, masked bool) []byte {
	b := []byte{0x82}
	switch {
	case n > 0xffff:
		b = append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	case n > 125:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, byte(n))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, make([]byte, n)...)
}
