package fronting

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/faketls"
)

// recording is a server's connection. When the client sends bytes, it emits what
// the server has sent since the client's previous bytes: a flight.
type recording struct {
	net.Conn
	sent    []byte
	flights chan<- []byte
}

func (r *recording) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if len(r.sent) > 0 && n > 0 {
		r.flights <- r.sent
		r.sent = nil
	}
	return n, err
}

func (r *recording) Write(p []byte) (int, error) {
	r.sent = append(r.sent, p...)
	return r.Conn.Write(p)
}

// tlsHost runs a TLS host on loopback. The channel gets its flights.
func tlsHost(t *testing.T, config *tls.Config) (address string, flights chan []byte) {
	flights = make(chan []byte, 100)
	return serve(t, func(conn *net.TCPConn) {
		serveTLS(&recording{Conn: conn, flights: flights}, config)
	}), flights
}

func serveTLS(conn net.Conn, config *tls.Config) {
	server := tls.Server(conn, config)
	server.Handshake()
	io.Copy(io.Discard, server)
}

// wireSize returns the size of the encrypted records of a flight, less one
// header.
func wireSize(t *testing.T, flight []byte) (size int) {
	t.Helper()
	for len(flight) >= 5 {
		n := 5 + int(binary.BigEndian.Uint16(flight[3:]))
		if flight[0] == 23 {
			size += n
		}
		flight = flight[n:]
	}
	if len(flight) > 0 {
		t.Errorf("the flight ends inside a record")
	}
	return size - 5
}

// certificate returns a certificate for a.example with padding bytes in it.
func certificate(t *testing.T, key any, public any, padding int) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"a.example"},
		SubjectKeyId: make([]byte, padding),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func rsaCertificate(t *testing.T, padding int) tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, key, &key.PublicKey, padding)
}

func probeHost(t *testing.T, address string) (*Pool, int, error) {
	t.Helper()
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
	m, err := p.probe(context.Background(), only(p), false)
	return p, m.shape.DataSize, err
}

// The measured size is that of all ApplicationData records in the host's first
// flight, as the host itself counts them.
func TestMeasuredSizeIsWhatTheHostSent(t *testing.T) {
	small := rsaCertificate(t, 20)
	for name, config := range map[string]*tls.Config{
		"simple":             {},
		"without tickets":    {SessionTicketsDisabled: true},
		"h2":                 {NextProtos: []string{"h2"}},
		"client certificate": {ClientAuth: tls.RequestClientCert},
		"another key share":  {CurvePreferences: []tls.CurveID{tls.CurveP384}},
		"only X25519":        {CurvePreferences: []tls.CurveID{tls.X25519}},
		"a long chain":       {Certificates: []tls.Certificate{rsaCertificate(t, 9000)}},
	} {
		t.Run(name, func(t *testing.T) {
			if config.Certificates == nil {
				config.Certificates = []tls.Certificate{small}
			}
			address, flights := tlsHost(t, config)
			_, got, err := probeHost(t, address)
			if err != nil {
				t.Fatal(err)
			}
			if name == "another key share" {
				<-flights // a HelloRetryRequest
			}
			if want := wireSize(t, <-flights); got != want || want < 500 {
				t.Errorf("measured %d, sent %d", got, want)
			}
		})
	}
}

// FakeTLS's ServerHello for a measured host is the host's own but for random bytes:
// records, lengths, cipher suite, group and order of extensions are the same.
func TestServerHelloLooksLikeTheHosts(t *testing.T) {
	key := [16]byte{1}
	sent, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: "a.example"})
	if err != nil {
		t.Fatal(err)
	}
	hello, _, err := faketls.ParseClientHello(sent)
	if err != nil {
		t.Fatal(err)
	}
	for name, curves := range map[string][]tls.CurveID{
		"today's":     {tls.X25519MLKEM768, tls.X25519},
		"yesterday's": {tls.X25519},
	} {
		address, flights := tlsHost(t, &tls.Config{
			Certificates: []tls.Certificate{rsaCertificate(t, 20)}, CurvePreferences: curves, SessionTicketsDisabled: true,
		})
		p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
		m, err := p.probe(t.Context(), only(p), false)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := faketls.AppendServerHello(nil, &hello, key, m.shape, nil)
		if err != nil {
			t.Fatal(err)
		}
		theirs := <-flights
		if len(ours) != len(theirs) {
			t.Errorf("%s: %d bytes, the host's flight has %d", name, len(ours), len(theirs))
		}
		// Random, session ID and, after byte 95, the key share differ each time.
		n := 5 + int(binary.BigEndian.Uint16(theirs[3:]))
		for at := range min(n, len(ours)) {
			free := at >= 11 && at < 43 || at >= 44 && at < 76 || at >= 95 && at < n
			if !free && ours[at] != theirs[at] {
				t.Errorf("%s:\n%x, the host has\n%x", name, ours[:min(n, 130)], theirs[:min(n, 130)])
				break
			}
		}
		if ours[n] != theirs[n] {
			t.Errorf("%s: the next record is %#x, the host's %#x", name, ours[n], theirs[n])
		}
	}
}

// parse recognizes the order of OpenSSL and Go, and it is false for that of BoringSSL
// and for what is no ServerHello of TLS 1.3, incomplete ones included.
func TestOrderOfExtensionsIsFound(t *testing.T) {
	versions, share := "\x00\x2b\x00\x02\x03\x04", "\x00\x33\x00\x06\x00\x1d\x00\x02ab"
	message := func(extensions string) []byte {
		b := make([]byte, 2+32, 200)
		b = append(b, "\x03sid\x13\x02\x00\x00"...)
		b = append(b, byte(len(extensions)))
		return append(b, extensions...)
	}
	for _, c := range []struct {
		message []byte
		want    bool
	}{
		{message(versions + share), true},
		{message(share + versions), false},
		{message("\x00\x29\x00\x02\x00\x00" + versions + share), true},
		{message("\x00\x29\x00\x02\x00\x00"), false},
		{message(""), false},
		{nil, false},
	} {
		for cut := range len(c.message) + 1 {
			var h serverHello
			h.parse(c.message[:cut])
			if got := h.versionsFirst; got != c.want && (cut == len(c.message) || got) {
				t.Errorf("%x: %v", c.message[:cut], got)
			}
			if cut == len(c.message) && h.tls13 != bytes.Contains(c.message, []byte(versions)) {
				t.Errorf("%x: TLS 1.3: %v", c.message, h.tls13)
			}
		}
	}
}

// ServerHello draws one of the measured shapes. ECDSA signatures vary in length.
func TestServerHelloIsOneOfThoseMeasured(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t, key, &key.PublicKey, 20)}}
	synctest.Test(t, func(t *testing.T) {
		flights := make(chan []byte, 100)
		p, _ := inMemory(t, func(conn net.Conn) {
			serveTLS(&recording{Conn: conn, flights: flights}, config)
		})
		if _, err := p.round(t.Context(), only(p)); err != nil {
			t.Fatal(err)
		}
		sent := map[int]bool{}
		for range probesPerRound {
			sent[wireSize(t, <-flights)] = true
		}
		drawn := map[int]bool{}
		for range 1000 {
			drawn[shapeFor(t, p, "a.example").DataSize] = true
			drawn[shapeFor(t, p, "unknown.example").DataSize] = true
		}
		if !maps.Equal(drawn, sent) {
			t.Errorf("drawn %v of %v", drawn, sent)
		}
	})
}

// The size is capped to 16640 bytes, the maximum of one record.
func TestHugeFlightIsCapped(t *testing.T) {
	address, _ := tlsHost(t, &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20000)}})
	if _, size, err := probeHost(t, address); size != 16640 || err != nil {
		t.Errorf("%d, %v", size, err)
	}
}

// A host without TLS 1.3 has size 0, unknown, and the log has a warning.
func TestHostOfTLS12HasNoSize(t *testing.T) {
	address, _ := tlsHost(t, &tls.Config{
		Certificates: []tls.Certificate{rsaCertificate(t, 20)}, MaxVersion: tls.VersionTLS12,
	})
	p, log := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
	measured(t, p, "a.example", faketls.ServerHelloShape{DataSize: 1234}) // from an earlier round
	if _, err := p.round(context.Background(), only(p)); err != nil {
		t.Fatal(err)
	}
	if size := shapeFor(t, p, "a.example").DataSize; size != 0 {
		t.Errorf("%d", size)
	}
	if !bytes.Contains([]byte(log.String()), []byte("TLS 1.3")) {
		t.Errorf("log %q", log)
	}
}

// Probing a host that is no TLS server fails, whatever it sends.
func TestHostWithoutTLSIsAnError(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":           "",
		"text":              "HTTP/1.1 400 Bad Request\r\n\r\n",
		"an alert":          "\x15\x03\x03\x00\x02\x02\x28",
		"data":              "\x17\x03\x03\x00\x05hello",
		"a bad ServerHello": "\x16\x03\x03\x00\x08\x02\x00\x00\x04junk",
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, func(conn *net.TCPConn) {
				conn.Read(make([]byte, 4096))
				io.WriteString(conn, answer)
			})
			if p, size, err := probeHost(t, address); size != 0 || err == nil || shapeFor(t, p, "").DataSize != 0 {
				t.Errorf("%d, %v", size, err)
			}
		})
	}
}

// inMemory returns a pool whose only host is handle, without sockets.
func inMemory(t *testing.T, handle func(net.Conn)) (*Pool, *lockedBuffer) {
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	return newPool(t, Config{
		Hosts: []Host{{Domain: "a.example"}},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			running.Go(func() {
				defer server.Close()
				handle(server)
			})
			return client, nil
		},
	})
}

// A probe of a host that sends nothing ends after probeTimeout.
func TestProbeOfASilentHostTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := inMemory(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		begin := time.Now()
		if _, err := p.probe(t.Context(), only(p), false); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(begin); took != probeTimeout {
			t.Errorf("ended after %v", took)
		}
	})
}

// A flight without end is an error, and at most maxFlight bytes of it are buffered.
func TestFlightWithoutEndIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the host never pauses for flightGap
		client, server := net.Pipe()
		defer client.Close()
		go func() {
			defer server.Close()
			for err := error(nil); err == nil; {
				_, err = server.Write(append([]byte{23, 3, 3, 0x40, 0}, make([]byte, 0x4000)...))
			}
		}()
		c := &flightConn{Conn: client}
		c.Read(make([]byte, 100))
		if _, err := c.Write([]byte("the answer")); err != errLongFlight {
			t.Error(err)
		}
		if c.total > maxFlight+4096 {
			t.Errorf("%d bytes were read", c.total)
		}
	})
}

// The client's answer is delayed until the host sends nothing for flightGap. Read
// returns what was buffered meanwhile, and nothing after the answer is counted.
func TestAnswerIsDelayedUntilTheFlightIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		records := append([]byte("\x16\x03\x03\x00\x03abc\x14\x03\x03\x00\x01\x01"), "\x17\x03\x03\x00\x02de"...)
		ticket := "\x17\x03\x03\x00\x04fghi"
		go func() {
			server.Write(records)
			time.Sleep(flightGap / 2)
			io.WriteString(server, ticket[:3])
			time.Sleep(flightGap / 2)
			io.WriteString(server, ticket[3:])
			server.Read(make([]byte, 10))
			io.WriteString(server, ticket)
		}()
		c := &flightConn{Conn: client}
		got := make([]byte, len(records))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, records) {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := c.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		got = make([]byte, 2*len(ticket))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != ticket+ticket {
			t.Errorf("%q, %v", got, err)
		}
		if c.dataLength != 7+9 {
			t.Errorf("%d bytes were counted", c.dataLength)
		}
	})
}

// The count of records does not depend on how the bytes are split into reads.
func FuzzFlightIsCountedAlikeInPieces(f *testing.F) {
	f.Add([]byte("\x16\x03\x03\x00\x03abc\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x02de"), 3)
	f.Add([]byte("\x17\x03\x03\xff\xffhello"), 1)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		if piece < 1 {
			piece = 1
		}
		var whole, pieces flightConn
		whole.count(sent)
		for rest := sent; len(rest) > 0; {
			n := min(piece, len(rest))
			pieces.count(rest[:n])
			rest = rest[n:]
		}
		if !slices.Equal(whole.records, pieces.records) || !bytes.Equal(whole.clear, pieces.clear) || len(whole.clear) > maxClear {
			t.Errorf("records %d and %d, %x and %x in clear", whole.records, pieces.records, whole.clear, pieces.clear)
		}
		if whole.dataLength != pieces.dataLength || whole.bodyLeft != pieces.bodyLeft || whole.total != len(sent) || pieces.total != len(sent) {
			t.Errorf("%d and %d of %d bytes", whole.dataLength, pieces.dataLength, len(sent))
		}
		if whole.bodyLeft > 1<<16 || len(whole.header) >= recordHeaderLength {
			t.Errorf("%d bytes to come, %d of a header", whole.bodyLeft, len(whole.header))
		}
	})
}
