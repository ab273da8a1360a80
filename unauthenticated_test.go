package mtwire_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// An unauthenticated client gets no answer. The error has its bytes, and its reason.
func TestUnauthenticatedClientsGetNoAnswer(t *testing.T) {
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
		want  error // nil: any
	}{
		{"wrong secret", wrongInit[:], nil},
		{"plain abridged", unhex("ef0101010101"), nil},
		{"plain full", unhex("1000000000000000010101011627afa0"), nil},
		{"HTTP", []byte("POST /api HTTP/1.1\r\nHost:\r\nContent-Length: 40\r\n\r\n"), nil},
		{"WebSocket", []byte("GET /apiws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"), nil},
		{"wrong HMAC", hello(other.Key, secret.Domain, now), mtwire.ErrNoMatch},
		{"stale clock", hello(secret.Key, secret.Domain, now.Add(-time.Hour)), faketls.ErrStaleClock},
		{"wrong server name", hello(secret.Key, "example.org", now), mtwire.ErrWrongServerName},
		{"malformed hello", append(unhex("1603010200ff"), make([]byte, 100)...), faketls.ErrMalformed},
		{"zeros", make([]byte, 64), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				server := mtwire.Server(near, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}, Time: func() time.Time { return now }})
				go far.Write(test.first)
				answer := make(chan []byte)
				go func() {
					got, _ := io.ReadAll(far)
					answer <- got
				}()
				err := server.Handshake(context.Background())
				var rejected *mtwire.UnauthenticatedError
				if !errors.As(err, &rejected) {
					t.Fatalf("%v", err)
				}
				if !bytes.HasPrefix(test.first, rejected.First) || len(rejected.First) < 6 {
					t.Errorf("the error has % x, sent % x", rejected.First, test.first)
				}
				if test.want != nil && !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
				if again := server.Send(context.Background(), make([]byte, 4)); again != err {
					t.Errorf("then %v", again)
				}
				server.Close()
				if got := <-answer; len(got) != 0 {
					t.Errorf("the client was answered: %q", got)
				}
			})
		})
	}
}

// Unauthenticated is called with the connection of an unauthenticated client, from which
// all its bytes can be read, and with Handshake's error.
func TestUnauthenticatedHookHasTheConnectionAndItsBytes(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	type call struct {
		first []byte
		err   error
	}
	calls := make(chan call, 1)
	server, client := serve(t, &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{secret},
		Unauthenticated: func(_ context.Context, conn net.Conn, reason error) {
			b, err := io.ReadAll(conn)
			if err != nil {
				t.Error(err)
			}
			conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
			conn.Close()
			calls <- call{b, reason}
		},
	})
	request := "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
	io.WriteString(client, request)
	client.CloseWrite()
	err := server.Handshake(short(t))
	hook := <-calls
	if string(hook.first) != request || hook.err == nil || !errors.Is(err, hook.err) {
		t.Errorf("%q, %v; handshake: %v", hook.first, hook.err, err)
	}
	if answer, _ := io.ReadAll(client); string(answer) != "HTTP/1.1 200 OK\r\n\r\n" {
		t.Errorf("the client read %q", answer)
	}
}

// A server that accepts FakeTLS only rejects a client at the first byte that differs from
// every FakeTLS hello, without its HandshakeTimeout, and rejects init payloads too.
func TestFakeTLSOnlyRejectsAtTheFirstOtherByte(t *testing.T) {
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
		var rejected *mtwire.UnauthenticatedError
		if err := server.Handshake(short(t)); !errors.As(err, &rejected) || string(rejected.First) != first {
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

// A replayed init payload is unauthenticated.
func TestReplayedInitPayloadIsRejected(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	seen := map[[16]byte]bool{}
	config := &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{secret},
		Replay:  func(id [16]byte) bool { known := seen[id]; seen[id] = true; return known },
	}
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, Key: &secret.Key})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			server := mtwire.Server(near, config)
			defer server.Close()
			go far.Write(init[:])
			err := server.Handshake(context.Background())
			var rejected *mtwire.UnauthenticatedError
			if errors.As(err, &rejected) != (i == 1) {
				t.Errorf("time %d: %v", i+1, err)
			}
		})
	}
	if len(seen) != 1 {
		t.Errorf("%d IDs are stored", len(seen))
	}
}

// Secrets for several domains may share a key: the client's secret is the one with the
// server name of its hello.
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
			t.Errorf("secret %d: the server found %d, %s", i, got.Secret, got.ServerName)
		}
	}
}
