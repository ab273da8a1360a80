package mtwire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Each kind of malformed stream has an error of its own, which later calls return too.
// The sending direction still works.
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
			if err := server.Send(short(t), make([]byte, 8)); err != nil {
				t.Errorf("send: %v", err)
			}
		})
	}
}

// A connection that ends after any number of bytes returns the whole packets before
// that, and then io.EOF or io.ErrUnexpectedEOF, in every framing.
func TestConnectionMayEndAnywhere(t *testing.T) {
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

// An error behind a whole packet is returned without waiting for more bytes.
func TestErrorBehindAPacketIsReturnedAtOnce(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	server, socket := serve(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
	joined := &joining{Conn: socket}
	go func() {
		client, err := mtwire.Client(context.Background(), joined, mtwire.Endpoint{Secret: secret}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		joined.behind = unhex("15030300020100") // an alert in the same Write
		client.Send(context.Background(), encrypted(3))
	}()
	if _, err := server.Receive(short(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Receive(short(t)); !errors.Is(err, faketls.ErrMalformed) {
		t.Errorf("%v", err)
	}
}

// joining is a connection that writes the bytes of behind together with every Write.
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

// FuzzServer sends bytes to a server in pieces. The server must not panic or return more
// bytes of payload than it received, and must end when the client does.
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
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
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
