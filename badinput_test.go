package mtwire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/coder/websocket"
	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func secretOf(t testing.TB, text string) mtwire.Secret {
	s, err := mtwire.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve returns a server's connection and the socket of its client.
func serve(t *testing.T, config *mtwire.ListenConfig) (*mtwire.Conn, *net.TCPConn) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client.(*net.TCPConn)
}

func short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// "Truncated, oversized, misaligned, wrong CRC, wrong sequence: each gets its
// own clear error", "each direction keeps its first error for ever".
func TestMalformedStreamsEndWithTheirOwnError(t *testing.T) {
	for _, test := range []struct {
		name string
		sent string
		want error
		text string
	}{
		{"truncated", "eeeeeeee" + "28000000" + "0102", io.ErrUnexpectedEOF, "receive: unexpected EOF"},
		{"truncated length", "eeeeeeee" + "2800", io.ErrUnexpectedEOF, "receive: unexpected EOF"},
		{"oversized", "eeeeeeee" + "04000001", frame.ErrTooLong, "receive: intermediate frame: length above the limit: 16777220, limit 16777216"},
		{"misaligned", "eeeeeeee" + "06000000", frame.ErrMisaligned, "receive: intermediate frame: length is not a multiple of four: 6"},
		{"empty", "ef" + "00", frame.ErrZeroLength, "receive: abridged frame: empty payload"},
		{"wrong CRC", "1000000000000000" + "01010101" + "00000000", frame.ErrChecksum, "receive: full frame: CRC-32 does not match: 00000000, want a0af2716"},
		{"wrong sequence", "1000000000000000" + "01010101" + "1627afa0" + "1000000002000000" + "01010101" + "00000000", frame.ErrSequence, "receive: full frame: sequence number out of order: 2, want 1"},
		{"the end", "eeeeeeee", io.EOF, "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, client := serve(t, nil)
			if _, err := client.Write(unhex(test.sent)); err != nil {
				t.Fatal(err)
			}
			client.CloseWrite()
			var err error
			for err == nil {
				_, err = server.Receive(short(t))
			}
			if !errors.Is(err, test.want) || err.Error() != test.text {
				t.Errorf("%v, want %s", err, test.text)
			}
			if _, again := server.Receive(short(t)); again != err {
				t.Errorf("then %v", again)
			}
			// The other direction still works: the peer closed only half.
			if err := server.Send(short(t), make([]byte, 8)); err != nil {
				t.Errorf("send: %v", err)
			}
		})
	}
}

// "unknown is 'unknown' with its bytes", and a server gives nothing away.
func TestStrangersGetSilenceAndAnErrorWithTheirBytes(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	other := secretOf(t, "dd"+strings.Repeat("ab", 16))
	wrongInit, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, Key: &other.Key, DC: 2})
	if err != nil {
		t.Fatal(err)
	}
	hello := func(key [16]byte, domain string, clock time.Time) []byte {
		b, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: domain, Time: func() time.Time { return clock }})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	now := time.Now()
	for _, test := range []struct {
		name  string
		first []byte
		why   error // besides being unknown
	}{
		{"wrong secret", wrongInit[:], nil},
		{"plain abridged", unhex("ef0101010101"), nil},
		{"plain full", unhex("1000000000000000010101011627afa0"), nil},
		{"HTTP", []byte("POST /api HTTP/1.1\r\nHost:\r\nContent-Length: 40\r\n\r\n"), nil},
		{"WebSocket", []byte("GET /apiws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"), nil},
		{"wrong HMAC", hello(other.Key, secret.Domain, now), mtwire.ErrNoMatch},
		{"stale clock", hello(secret.Key, secret.Domain, now.Add(-time.Hour)), faketls.ErrStaleClock},
		{"wrong server name", hello(secret.Key, "example.org", now), mtwire.ErrWrongServerName},
		{"TLS that is none", append(unhex("1603010200ff"), make([]byte, 100)...), faketls.ErrMalformed},
		{"zeros", make([]byte, 64), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, client := serve(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}, HandshakeTimeout: 50 * time.Millisecond})
			if _, err := client.Write(test.first); err != nil {
				t.Fatal(err)
			}
			err := server.Handshake(short(t))
			var unknown *mtwire.UnauthenticatedError
			if !errors.As(err, &unknown) {
				t.Fatalf("%v", err)
			}
			if !bytes.HasPrefix(test.first, unknown.First) || len(unknown.First) < 6 {
				t.Errorf("the error has % x, sent % x", unknown.First, test.first)
			}
			if test.why != nil && !errors.Is(err, test.why) {
				t.Errorf("%v, want %v", err, test.why)
			}
			if again := server.Send(short(t), make([]byte, 4)); again != err {
				t.Errorf("then %v", again)
			}
			server.Close()
			if got, _ := io.ReadAll(client); len(got) != 0 {
				t.Errorf("the stranger was answered: %q", got)
			}
		})
	}
}

// "unknown with the first byte that no FakeTLS hello has in its place", and no
// init payload is taken, while FakeTLS is.
func TestFakeTLSOnlyWaitsForNothingElse(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	config := &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}, FakeTLSOnly: true, HandshakeTimeout: time.Hour,
		Unauthenticated: func(context.Context, net.Conn, error) {}}
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, Key: &secret.Key, DC: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []string{"h", "\xef", "\x16\x02", "\x16\x03\x01\x02\x00\xff", "GET / HTTP/1.1", string(init[:])} {
		server, client := serve(t, config)
		io.WriteString(client, first)
		var unknown *mtwire.UnauthenticatedError
		if err := server.Handshake(short(t)); !errors.As(err, &unknown) || string(unknown.First) != first {
			t.Errorf("%q: %v", first, err)
		}
	}
	server, client := serve(t, config)
	received := make(chan error, 1)
	go func() {
		_, err := server.Receive(short(t))
		received <- err
	}()
	conn, err := mtwire.Client(short(t), client, mtwire.Endpoint{Secret: secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(short(t), encrypted(4)); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Error(err)
	}
}

// "any connection of which nothing could be made, with all its bytes."
func TestStrangersCanBeHandedOver(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	type handed struct {
		first []byte
		why   error
	}
	got := make(chan handed, 1)
	server, client := serve(t, &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{secret},
		Unauthenticated: func(_ context.Context, conn net.Conn, why error) {
			b, err := io.ReadAll(conn)
			if err != nil {
				t.Error(err)
			}
			conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
			conn.Close()
			got <- handed{b, why}
		},
	})
	request := "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
	io.WriteString(client, request)
	client.CloseWrite()
	err := server.Handshake(short(t))
	h := <-got
	if string(h.first) != request || h.why == nil || !errors.Is(err, h.why) {
		t.Errorf("%q, %v; handshake: %v", h.first, h.why, err)
	}
	if answer, _ := io.ReadAll(client); string(answer) != "HTTP/1.1 200 OK\r\n\r\n" {
		t.Errorf("the stranger read %q", answer)
	}
}

// "a TLS-looking init that fails is retried as obfuscated": legal init
// payloads that begin with 16 03 01, once in 2^24.
func TestInitPayloadThatLooksLikeTLSIsAccepted(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	for _, first := range []string{"1603010600", "1603010004", "16030106ff", "1603014000"} {
		for _, secrets := range [][]mtwire.Secret{nil, {secret}} {
			server, client := serve(t, &mtwire.ListenConfig{Secrets: secrets})
			init, streams := lookalike(t, unhex(first), secrets)
			e := frame.Encoder{Protocol: frame.PaddedIntermediate}
			packet, err := e.Append(nil, frame.Packet{Payload: encrypted(4)})
			if err != nil {
				t.Fatal(err)
			}
			streams.Send.XORKeyStream(packet, packet)
			if _, err := client.Write(append(init, packet...)); err != nil {
				t.Fatal(err)
			}
			if _, err := server.Receive(short(t)); err != nil {
				t.Errorf("%s: %v", first, err)
			}
		}
	}
}

// TLS 1.2's hello has no session id and so cannot be FakeTLS's; with a
// certificate it is served all the same, secrets or none.
func TestTLS12IsServedBesideSecrets(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	clientTLS.MaxVersion = tls.VersionTLS12
	for _, config := range []*mtwire.ListenConfig{
		{TLS: serverTLS},
		{TLS: serverTLS, Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true},
	} {
		ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- ln.Serve(ctx, echo) }()
		conn, err := mtwire.Dial(short(t), "wss://"+ln.Addr().String(), &mtwire.DialConfig{TLS: clientTLS})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Send(short(t), encrypted(3)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(short(t)); err != nil {
			t.Error(err)
		}
		conn.Close()
		cancel()
		<-served
	}
}

// HTTP/2 is not spoken here, and so not agreed on: neither by a server whose
// certificates come from a configuration made for net/http, as autocert's is,
// nor by a client with such a configuration.
func TestHTTP2IsNotAgreedOn(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	both := []string{"h2", "http/1.1"}
	serverTLS.NextProtos, clientTLS.NextProtos = both, both
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{TLS: serverTLS})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, echo) }()
	defer func() { cancel(); <-served }()
	raw, err := tls.Dial("tcp", ln.Addr().String(), clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	if got := raw.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("a browser and the server agree on %q", got)
	}
	raw.Close()

	// Another server, which would take HTTP/2 from a client that offers it.
	agreed := make(chan string, 2)
	other, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for range cap(agreed) {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			agreed <- conn.(*tls.Conn).ConnectionState().NegotiatedProtocol
			conn.Close()
		}
	}()
	for _, scheme := range []string{"wss", "https"} {
		conn, err := mtwire.Dial(short(t), scheme+"://"+other.Addr().String(), &mtwire.DialConfig{TLS: clientTLS})
		if err == nil {
			conn.Send(short(t), encrypted(3))
			defer conn.Close()
		}
		if got := <-agreed; got == "h2" {
			t.Errorf("%s: a client agrees on %q", scheme, got)
		}
	}
	if len(both) != 2 || both[0] != "h2" {
		t.Errorf("the caller's list was changed: %q", both)
	}
}

// lookalike makes an init payload with given first bytes, which NewInit
// refuses to draw.
func lookalike(t *testing.T, first []byte, secrets []mtwire.Secret) ([]byte, obfuscation.Streams) {
	config := &obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, DC: 2}
	if secrets != nil {
		config.Key = &secrets[0].Key
	}
	init, announced, err := obfuscation.NewInit(config)
	if err != nil {
		t.Fatal(err)
	}
	streams := announced.Streams(frame.Client)
	copy(init[:], first) // bytes 0..8 are in no key
	return init[:], streams
}

// "Accept never reads"; "one silent client blocks nobody".
func TestSilentClientsKeepNobodyWaiting(t *testing.T) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, echo) }()
	for range 50 {
		silent, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	conn, err := mtwire.Dial(short(t), "tcp://"+ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(short(t), encrypted(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Receive(short(t)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// "warm idle connections are not killed by the first-byte timer", "start a
// short timer only after it", "a peer that sends one byte a second".
func TestTimerStartsWithTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(near, nil)
		defer server.Close()
		go func() {
			time.Sleep(24 * time.Hour)
			far.Write(unhex("eeeeeeee04000000"))
			far.Write(unhex("01020304"))
		}()
		if p, err := server.Receive(context.Background()); err != nil || len(p.Payload) != 4 {
			t.Errorf("after a day of silence: %+v, %v", p, err)
		}
		far.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(near, nil)
		defer server.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if _, err := far.Write([]byte{1}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		start := time.Now()
		err := server.Handshake(context.Background())
		if took := time.Since(start); !errors.Is(err, mtwire.ErrHandshakeTimeout) || took < 10*time.Second || took > 15*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		far.Close()
		<-ended
	})
}

// "Cancelling a context unblocks Read and Write at once", and a Receive that
// was cancelled lost nothing.
func TestContextsUnblockBothDirections(t *testing.T) {
	for _, url := range []string{
		"tcp://%s?protocol=abridged", "tcp://%s?obfuscated=true", "ws://%s/apiws", "http://%s/api",
		"tcp://%s?secret=" + mtwiretest.FakeTLSSecret,
	} {
		t.Run(strings.SplitN(url, ":", 2)[0], func(t *testing.T) {
			ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
				Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			serving, stop := context.WithCancel(context.Background())
			served := make(chan error, 1)
			go func() { served <- ln.Serve(serving, echo) }()
			defer func() { stop(); <-served }()
			conn, err := mtwire.Dial(short(t), fmt.Sprintf(url, ln.Addr()), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithCancel(context.Background())
			received := make(chan error, 1)
			go func() {
				_, err := conn.Receive(ctx)
				received <- err
			}()
			cancel()
			if err := <-received; !errors.Is(err, context.Canceled) {
				t.Errorf("receive: %v", err)
			}
			// Nothing was lost: the connection goes on.
			if err := conn.Send(short(t), encrypted(5)); err != nil {
				t.Fatal(err)
			}
			if p, err := conn.Receive(short(t)); err != nil || len(p.Payload) != 24+5*16 {
				t.Errorf("then: %d bytes, %v", len(p.Payload), err)
			}
		})
	}
}

// "n reported honestly", "first error kept": a Send into a full socket ends
// with its context, and is the last.
func TestSendThatWasCutOffIsTheLast(t *testing.T) {
	server, client := serve(t, nil)
	if _, err := client.Write(unhex("ef")); err != nil {
		t.Fatal(err)
	}
	if err := server.Handshake(short(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(short(t))
	defer cancel()
	go func() {
		client.Read(make([]byte, 1)) // more than it can take is under way
		cancel()
	}()
	big := make([]byte, 32<<20)
	err := server.Send(ctx, big)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if again := server.Send(context.Background(), big[:4]); again != err {
		t.Errorf("then %v", again)
	}
	// Receiving is not affected.
	client.Write(unhex("0101020304"))
	if p, err := server.Receive(short(t)); err != nil || len(p.Payload) != 4 {
		t.Errorf("receive: %+v, %v", p, err)
	}
}

// "a 4-byte header never costs more than the bytes that really arrived."
func TestLongHeaderCostsNoMemory(t *testing.T) {
	const connections = 100
	var before, after runtime.MemStats
	var servers []*mtwire.Conn
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range connections {
		server, client := serve(t, nil)
		if _, err := client.Write(append(unhex("eeeeeeee"+"00000001"), make([]byte, 100)...)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		if _, err := server.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
		servers = append(servers, server)
	}
	runtime.GC()
	runtime.GC() // pools are emptied in the second
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / connections; each > 16<<10 {
		t.Errorf("%d bytes for each connection that announced 16 MiB", each)
	}
	runtime.KeepAlive(servers)
}

// "one packet, one Write", header or init payload included.
func TestEachPacketIsOneWrite(t *testing.T) {
	for _, m := range append(mtwiretest.DirectModes(), mtwiretest.ProxiedModes()...) {
		ep, err := mtwire.ParseEndpoint(fmt.Sprintf(m.URL, "127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		if ep.Carrier != mtwire.TCP || ep.Secret.Mode == mtproxy.FakeTLS {
			continue // tested in the packages of these layers
		}
		w := &writeCounter{}
		conn, err := mtwire.Client(short(t), w, ep, &mtwire.DialConfig{ObfuscatedFull: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, blocks := range []int{3, 100, 4096, 70000} {
			if err := conn.Send(short(t), encrypted(blocks)); err != nil {
				t.Fatal(err)
			}
			if w.writes != i+1 {
				t.Errorf("%s: %d writes for %d packets", m.Transport, w.writes, i+1)
			}
		}
	}
}

type writeCounter struct {
	net.Conn
	writes int
}

func (w *writeCounter) Write(p []byte) (int, error)      { w.writes++; return len(p), nil }
func (w *writeCounter) SetReadDeadline(time.Time) error  { return nil }
func (w *writeCounter) SetWriteDeadline(time.Time) error { return nil }

// "no leak": connections that end in every way leave no goroutine behind.
func TestServeLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{HandshakeTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, echo) }()
	for i := range 40 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0:
			c.Close()
		case 1:
			c.Write(unhex("eeeeeeee2800"))
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		case 2:
			c.Write(make([]byte, 64))
			defer c.Close()
		case 3:
			defer c.Close()
		}
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// A replayed init payload is as unknown as any other bytes.
func TestReplayedInitPayloadIsRefused(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	seen := map[[16]byte]bool{}
	config := &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{secret}, HandshakeTimeout: 50 * time.Millisecond,
		Replay: func(id [16]byte) bool { was := seen[id]; seen[id] = true; return was },
	}
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, Key: &secret.Key})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		server, client := serve(t, config)
		client.Write(init[:])
		err := server.Handshake(short(t))
		var unknown *mtwire.UnauthenticatedError
		if errors.As(err, &unknown) != (i == 1) {
			t.Errorf("time %d: %v", i+1, err)
		}
	}
	if len(seen) != 1 {
		t.Errorf("%d ids remembered", len(seen))
	}
}

// Every place where a connection may be cut, in every byte-stream mode: no
// panic, an error that says so, and whole packets before it.
func TestConnectionCutAnywhere(t *testing.T) {
	payload := encrypted(3)
	for _, protocol := range frame.Protocols {
		for _, obfuscated := range []bool{false, true} {
			w := &capture{}
			conn, err := mtwire.Client(short(t), w, mtwire.Endpoint{Protocol: protocol, Obfuscated: obfuscated}, &mtwire.DialConfig{ObfuscatedFull: true})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := conn.Send(short(t), payload); err != nil {
					t.Fatal(err)
				}
			}
			for cut := 1; cut < len(w.b); cut += 7 {
				near, far := net.Pipe()
				server := mtwire.Server(near, &mtwire.ListenConfig{ObfuscatedFull: true})
				go func() {
					far.Write(w.b[:cut])
					far.Close()
				}()
				packets := 0
				var err error
				for {
					if _, err = server.Receive(short(t)); err != nil {
						break
					}
					packets++
				}
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || packets > 1 {
					t.Fatalf("%v, cut at %d of %d: %d packets, %v", protocol, cut, len(w.b), packets, err)
				}
				server.Close()
			}
		}
	}
}

type capture struct {
	writeCounter
	b []byte
}

func (c *capture) Write(p []byte) (int, error) { c.b = append(c.b, p...); return len(p), nil }

// FuzzServer: whatever a client sends, in whatever pieces, a server neither
// panics nor takes more memory than it was sent, and ends when the client
// does.
func FuzzServer(f *testing.F) {
	secret, err := mtwire.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("ef0a"), uint8(1))
	for _, protocol := range frame.Protocols {
		w := &capture{}
		conn, err := mtwire.Client(context.Background(), w, mtwire.Endpoint{Protocol: protocol}, nil)
		if err != nil {
			f.Fatal(err)
		}
		conn.Send(context.Background(), make([]byte, 40))
		f.Add(w.b, uint8(7))
	}
	f.Add([]byte("POST /api HTTP/1.1\r\nHost:\r\nContent-Length: 40\r\n\r\n"), uint8(16))
	f.Add([]byte("GET /apiws HTTP/1.1\r\nHost: x\r\n\r\n"), uint8(16))
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hello, uint8(255))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		sent := len(b)
		near, far := net.Pipe()
		server := mtwire.Server(near, &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{secret}, AllowNoSecret: true, ObfuscatedFull: true,
			HandshakeTimeout: 200 * time.Millisecond, MaxLength: 1 << 16,
		})
		go io.Copy(io.Discard, far)
		go func() {
			defer far.Close()
			for len(b) > 0 {
				n := min(len(b), int(piece)+1)
				if _, err := far.Write(b[:n]); err != nil {
					return
				}
				b = b[n:]
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		total := 0
		for {
			p, err := server.Receive(ctx)
			if err != nil {
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("still waiting: %v", err)
				}
				break
			}
			total += len(p.Payload)
			if server.Transport().Carrier == mtwire.HTTP {
				if err := server.Send(ctx, make([]byte, 8)); err != nil {
					break
				}
			}
		}
		if total > sent {
			t.Fatalf("%d bytes of payload out of %d", total, sent)
		}
		server.Close()
	})
}

// Connections that ended leave nothing on a context that lives on: neither
// strangers nor those that never spoke.
func TestEndedConnectionsAreForgotten(t *testing.T) {
	for name, sent := range map[string][]byte{
		"stranger": append(unhex("1603013ff001003fec0303"), make([]byte, 16<<10)...),
		"silent":   nil,
	} {
		ctx, cancel := context.WithCancel(context.Background())
		const connections = 200
		var ended []weakConn
		for range connections {
			near, far := net.Pipe()
			server := mtwire.Server(near, &mtwire.ListenConfig{
				Secrets:         []mtwire.Secret{secretOf(t, mtwiretest.PaddedSecret)},
				Unauthenticated: func(context.Context, net.Conn, error) {},
			})
			go func() {
				far.Write(sent)
				far.Close()
			}()
			if err := server.Handshake(ctx); err == nil {
				t.Fatal("it was let in")
			}
			server.Close()
			ended = append(ended, weak.Make(server))
		}
		kept := 0
		for range 50 {
			runtime.GC()
			kept = 0
			for _, c := range ended {
				if c.Value() != nil {
					kept++
				}
			}
			if kept == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond) // the other end's goroutine
		}
		if kept > 0 {
			t.Errorf("%s: %d of %d connections are still held", name, kept, connections)
		}
		cancel()
	}
}

type weakConn = weak.Pointer[mtwire.Conn]

// The usual "defer cancel()" after a Send ends that Send's context, and
// nothing else: a ping can be answered later.
func TestContextThatEndsAfterItsCallDoesNothing(t *testing.T) {
	pinged := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"binary"}, InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		go func() { // the init payload, and then the pong
			for {
				if _, _, err := ws.Read(context.Background()); err != nil {
					return
				}
			}
		}()
		<-pinged
		if err := ws.Ping(r.Context()); err != nil {
			t.Errorf("ping: %v", err)
		}
		ws.Close(websocket.StatusNormalClosure, "")
	}))
	defer server.Close()
	conn, err := mtwire.Dial(short(t), "ws"+strings.TrimPrefix(server.URL, "http")+"/apiws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		if err := conn.Handshake(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	close(pinged)
	if _, err := conn.Receive(short(t)); err != io.EOF {
		t.Errorf("receive: %v", err)
	}
}

// "When ctx ends, a blocked call returns at once", also when what it is
// blocked by is another call.
func TestContextUnblocksACallThatWaitsForItsTurn(t *testing.T) {
	silent, _ := serve(t, nil)
	ready, client := serve(t, nil)
	client.Write(unhex("ef"))
	if err := ready.Handshake(short(t)); err != nil {
		t.Fatal(err)
	}
	for name, blocked := range map[string]struct {
		conn *mtwire.Conn
		call func(ctx context.Context, conn *mtwire.Conn) error
	}{
		"send behind a handshake": {silent, func(ctx context.Context, conn *mtwire.Conn) error { return conn.Send(ctx, make([]byte, 4)) }},
		"receive behind a receive": {ready, func(ctx context.Context, conn *mtwire.Conn) error {
			_, err := conn.Receive(ctx)
			return err
		}},
	} {
		first, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			_, err := blocked.conn.Receive(first)
			ended <- err
		}()
		// Whichever of the two comes first, the other waits for it.
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if err := blocked.call(ctx, blocked.conn); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the first call: %v", name, err)
		}
	}
}

// A packet of the largest size costs its own memory a few times over, on every
// carrier, and not the square of it.
func TestLargestPacketCostsItsOwnSize(t *testing.T) {
	for _, url := range []string{
		"tcp://%s", "tcp://%s?obfuscated=true", "ws://%s/apiws", "tcp://%s?secret=" + mtwiretest.FakeTLSSecret,
	} {
		ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		sent := make(chan error, 1)
		go func() {
			conn, err := mtwire.Dial(short(t), fmt.Sprintf(url, ln.Addr()), nil)
			if err == nil {
				defer conn.Close()
				err = conn.Send(short(t), encrypted(1<<20-3)) // and 15 bytes of padding
			}
			if err == nil {
				_, err = conn.Receive(short(t))
			}
			sent <- err
		}()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Handshake(short(t)); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := server.Receive(short(t))
		runtime.ReadMemStats(&after)
		if err != nil || len(p.Payload) != 24+16*(1<<20-3) {
			t.Fatalf("%s: %d bytes, %v", url, len(p.Payload), err)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 8*16<<20 {
			t.Errorf("%s: %d MiB for a packet of 16", url, taken>>20)
		}
		server.Close()
		<-sent
	}
}

// A peer that is no longer there has timed out, but not by a deadline: that is
// the end, and is kept.
func TestDeadPeerIsNotAPassingTimeout(t *testing.T) {
	conn, err := mtwire.Client(short(t), &deadPeer{}, mtwire.Endpoint{Obfuscated: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := conn.Receive(short(t)); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("%v", err)
		}
	}
}

type deadPeer struct {
	writeCounter
	reads int
}

func (d *deadPeer) Read([]byte) (int, error) {
	if d.reads++; d.reads > 1 {
		return 0, io.EOF
	}
	return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ETIMEDOUT}
}

// "Official clients open warm idle connections": also behind a FakeTLS hello,
// and a Receive that its context ended there goes on.
func TestWarmFakeTLSConnectionIsKept(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(near, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			pieces := &inPieces{Conn: far}
			client, err := mtwire.Client(context.Background(), pieces, mtwire.Endpoint{Secret: secret}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Hour)
			pieces.cut = true
			client.Send(context.Background(), encrypted(3))
		}()
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			if _, err := server.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("while it is warmed up: %v", err)
			}
			cancel()
		}
		if p, err := server.Receive(context.Background()); err != nil || len(p.Payload) != 24+3*16 {
			t.Errorf("after an hour: %d bytes, %v", len(p.Payload), err)
		}
		<-sent
		server.Close()
	})
}

// inPieces takes a second over what it sends, once it is told to.
type inPieces struct {
	net.Conn
	cut bool
}

func (p *inPieces) Write(b []byte) (int, error) {
	if !p.cut {
		return p.Conn.Write(b)
	}
	const pieces = 4
	for i := range pieces {
		if _, err := p.Conn.Write(b[i*len(b)/pieces : (i+1)*len(b)/pieces]); err != nil {
			return 0, err
		}
		time.Sleep(time.Second)
	}
	return len(b), nil
}

// One key may be handed out for several domains.
func TestSecretsMayShareAKey(t *testing.T) {
	key := strings.Repeat("ab", 16)
	secrets := []mtwire.Secret{
		secretOf(t, "ee"+key+hex.EncodeToString([]byte("a.example"))),
		secretOf(t, "ee"+key+hex.EncodeToString([]byte("b.example"))),
	}
	for i, secret := range secrets {
		server, socket := serve(t, &mtwire.ListenConfig{Secrets: secrets})
		dialled := make(chan error, 1)
		go func() {
			client, err := mtwire.Client(short(t), socket, mtwire.Endpoint{Secret: secret}, nil)
			if err == nil {
				err = client.Handshake(short(t))
			}
			dialled <- err
		}()
		if err := server.Handshake(short(t)); err != nil {
			t.Fatal(err)
		}
		if err := <-dialled; err != nil {
			t.Fatal(err)
		}
		if got := server.Transport(); got.Secret != i || got.ServerName != secret.Domain {
			t.Errorf("secret %d: the server saw %d, %s", i, got.Secret, got.ServerName)
		}
	}
}

// A slip in an endpoint does not put a secret into an error.
func TestEndpointErrorsDoNotQuoteSecrets(t *testing.T) {
	for _, url := range []string{
		"tcp://h:443?" + mtwiretest.PaddedSecret,
		"tcp://h:443?secret=" + mtwiretest.PlainSecret + "0",
		"tcp://h:443?secret=zz" + mtwiretest.PlainSecret,
		"tg://proxy?server=h&port=443&secret=" + mtwiretest.PlainSecret + "00",
		"tcp://h:%zz?secret=" + mtwiretest.PlainSecret,
	} {
		if _, err := mtwire.ParseEndpoint(url); err == nil || strings.Contains(err.Error(), mtwiretest.PlainSecret[8:]) {
			t.Errorf("%v", err)
		}
	}
}

// A handshake that stops in the middle of TLS's or WebSocket's own ends with
// its time, and what is kept of it is not mistaken for a later context's end.
func TestHandshakeCutInALayersOwnIsOver(t *testing.T) {
	serverTLS, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Domain: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for name, first := range map[string][]byte{"TLS": hello, "WebSocket": []byte("GET /apiws HTTP/1.1\r\n")} {
		server, client := serve(t, &mtwire.ListenConfig{TLS: serverTLS, HandshakeTimeout: 50 * time.Millisecond})
		client.Write(first)
		if _, err := server.Receive(short(t)); !errors.Is(err, mtwire.ErrHandshakeTimeout) {
			t.Errorf("%s: %v", name, err)
		}

		server, client = serve(t, &mtwire.ListenConfig{TLS: serverTLS})
		client.Write(first)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if _, err := server.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		if _, err := server.Receive(short(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, again: %v", name, err)
		}
	}
}

// A WebSocket that was warm and then is slow has taken too long; no context has
// ended.
func TestWarmWebSocketThatIsSlowTimesOut(t *testing.T) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{HandshakeTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	upgraded := make(chan struct{})
	done := make(chan struct{})
	go func() {
		ws, err := wsconn.Dial(context.Background(), "ws://"+ln.Addr().String()+"/apiws", nil)
		if err != nil {
			t.Error(err)
			return
		}
		<-upgraded
		ws.Write([]byte{1})
		<-done
		ws.Close()
	}()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond) // longer than the handshake may take
	defer cancel()
	if err := server.Handshake(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is warm: %v", err)
	}
	close(upgraded)
	if err := server.Handshake(context.Background()); !errors.Is(err, mtwire.ErrHandshakeTimeout) {
		t.Errorf("when it is slow: %v", err)
	}
	close(done)
	server.Close()
}

// What is wrong behind a whole packet is told without waiting for more bytes.
func TestErrorBehindAPacketIsToldAtOnce(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	server, socket := serve(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
	joined := &joining{Conn: socket}
	go func() {
		client, err := mtwire.Client(context.Background(), joined, mtwire.Endpoint{Secret: secret}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		joined.behind = unhex("15030300020100") // an alert in the same segment
		client.Send(context.Background(), encrypted(3))
	}()
	if _, err := server.Receive(short(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Receive(short(t)); !errors.Is(err, faketls.ErrMalformed) {
		t.Errorf("%v", err)
	}
}

// "When ctx ends, a blocked call returns at once with ctx.Err()", on every
// carrier, also if the context was cancelled with a cause of its own.
func TestContextWithACauseEndsCallsWithItsError(t *testing.T) {
	const limit = 50 * time.Millisecond
	check := func(name string, call func(context.Context) error) {
		ctx, cancel := context.WithCancelCause(context.Background())
		timer := time.AfterFunc(limit, func() { cancel(errors.New("shutting down")) })
		defer timer.Stop()
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	receive := func(conn *mtwire.Conn) func(context.Context) error {
		return func(ctx context.Context) error { _, err := conn.Receive(ctx); return err }
	}
	for _, scheme := range []string{"tcp", "ws", "http"} {
		ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- ln.Serve(ctx, echo) }()
		client, err := mtwire.Dial(short(t), scheme+"://"+ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		check(scheme+" client", receive(client))
		client.Close()
		cancel()
		<-served
	}
	server, socket := serve(t, nil)
	socket.Write([]byte("POST /api HTTP/1.1\r\nContent-Length: 8\r\n\r\n12345678"))
	if _, err := server.Receive(short(t)); err != nil {
		t.Fatal(err)
	}
	check("HTTP server, request open", receive(server))
	if err := server.Send(short(t), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	check("HTTP server, no request", receive(server))
	check("HTTP server, sending", func(ctx context.Context) error { return server.Send(ctx, make([]byte, 8)) })
	server, socket = serve(t, nil)
	socket.Write([]byte("GET /apiws HTTP/1.1\r\n"))
	check("WebSocket handshake", receive(server))

	for name, url := range map[string]string{
		"FakeTLS client handshake":   "tcp://a.example:443?secret=" + mtwiretest.FakeTLSSecret,
		"WebSocket client handshake": "ws://a.example/apiws",
	} {
		check(name, func(ctx context.Context) error {
			silent, _ := tcpPair(t)
			dial := func(context.Context, string, string) (net.Conn, error) { return silent, nil }
			_, err := mtwire.Dial(ctx, url, &mtwire.DialConfig{DialContext: dial})
			return err
		})
	}
}

// "A transport error does not end the connection": who goes on after each one
// comes to the end all the same, also where a close frame tells it again.
func TestErrorInACloseFrameIsNotToldForEver(t *testing.T) {
	ctx := short(t)
	server, socket := serve(t, nil)
	refused := make(chan error, 1)
	go func() {
		if _, err := server.Receive(ctx); err != nil {
			refused <- err
			return
		}
		refused <- server.SendError(ctx, 404)
	}()
	dial := func(context.Context, string, string) (net.Conn, error) { return socket, nil }
	client, err := mtwire.Dial(ctx, "ws://a.example/apiws", &mtwire.DialConfig{DialContext: dial})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Send(ctx, encrypted(3)); err != nil {
		t.Fatal(err)
	}
	var told *mtwire.TransportError
	for times := range 3 {
		_, err = client.Receive(ctx)
		if times == 0 && !errors.As(err, &told) {
			t.Fatalf("in place of the error: %v", err)
		}
		if !errors.As(err, &told) {
			break
		}
	}
	if err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if err := <-refused; err != nil {
		t.Error(err)
	}
}

type joining struct {
	net.Conn
	behind []byte
}

func (j *joining) Write(b []byte) (int, error) {
	if j.behind == nil {
		return j.Conn.Write(b)
	}
	_, err := j.Conn.Write(append(bytes.Clone(b), j.behind...))
	return len(b), err
}

// Serve goes on when the system cannot take another connection just now.
func TestServeForgivesAcceptsThatFail(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS} {
		ln := &failing{fail: &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}}
		if err := mtwire.NewListener(ln, nil).Serve(context.Background(), nil); err != net.ErrClosed || ln.accepts != 3 {
			t.Errorf("%v: %v after %d accepts", errno, err, ln.accepts)
		}
	}
}

// failing fails twice, and is closed then.
type failing struct {
	net.Listener
	fail    error
	accepts int
}

func (f *failing) Accept() (net.Conn, error) {
	if f.accepts++; f.accepts < 3 {
		return nil, f.fail
	}
	return nil, net.ErrClosed
}

func (f *failing) Close() error { return nil }
