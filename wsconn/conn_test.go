//go:build !js

package wsconn

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

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

// A packet is then one TCP segment or one TLS record, if it fits.
func TestOneWriteIsOneWriteToTheConnectionBelow(t *testing.T) {
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

func TestTransferDoesNotAllocate(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		p, q := make([]byte, 2000), make([]byte, 2000)
		transfer := func() {
			if _, err := from.Write(p); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(to, q); err != nil {
				t.Fatal(err)
			}
		}
		allocs := testing.AllocsPerRun(100, transfer)
		for range 10 { // goroutines of other tests may still end, and allocate
			if allocs > 0 {
				allocs = testing.AllocsPerRun(100, transfer)
			}
		}
		if allocs > 0 {
			t.Errorf("%.1f allocations for a message", allocs)
		}
	})
}

// The peer receives the status 1003.
func TestTextMessageIsRefused(t *testing.T) {
	a, b := tcpPair(t)
	ch := serveAsync(t.Context(), b, nil)
	ws, _, err := websocket.Dial(t.Context(), "ws://dc.example/apiws", &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{DialContext: dialed(a)}},
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

// Logs and limits use the address of the TCP connection.
func TestAddressesAreThoseOfTheConnectionBelow(t *testing.T) {
	a, b := tcpPair(t)
	client, server := upgradedPair(t, a, b, 0)
	if client.LocalAddr().String() != a.LocalAddr().String() ||
		client.RemoteAddr().String() != a.RemoteAddr().String() ||
		server.LocalAddr().String() != b.LocalAddr().String() ||
		server.RemoteAddr().String() != b.RemoteAddr().String() {
		t.Error("addresses are not the TCP connection's")
	}
}

func TestWebSocketOverTLS(t *testing.T) {
	cert, pool := certificate(t, "venus.web.telegram.org")
	a, b := tcpPair(t)
	ch := serveAsync(t.Context(), tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}}), nil)
	client, err := Dial(t.Context(), "wss://venus.web.telegram.org/apiws", &DialConfig{
		DialContext:     dialed(a),
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
	_, err = Dial(t.Context(), "wss://venus.web.telegram.org/apiws", &DialConfig{DialContext: dialed(a)})
	var unknown *tls.CertificateVerificationError
	if !errors.As(err, &unknown) {
		t.Errorf("self-signed certificate: %v", err)
	}
	if s := <-ch; s.err == nil {
		t.Error("no error on the server for a client that refused its certificate")
	}
}

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
		t.Errorf("server: %v", err)
	}
}
