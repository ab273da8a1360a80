package mtwire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// someSecrets are n different ones, good for every mode.
func someSecrets(n int) (secrets []mtwire.Secret) {
	for i := range n {
		secrets = append(secrets, mtwire.Secret{Key: [16]byte{1, 2, 3, byte(i)}})
	}
	return secrets
}

// handshake lets a client of that secret and mode join, and returns the
// server's end.
func handshake(t *testing.T, config *mtwire.ListenConfig, key [16]byte, mode mtproxy.Mode) (*mtwire.Conn, error) {
	t.Helper()
	server, socket := serve(t, config)
	secret := mtwire.Secret{Key: key, Mode: mode}
	if mode == mtproxy.FakeTLS {
		secret.Domain = "a.example"
	}
	joined := make(chan error, 1)
	go func() {
		client, err := mtwire.Client(short(t), socket, mtwire.Endpoint{Secret: secret}, nil)
		if err == nil {
			err = client.Handshake(short(t))
		}
		joined <- err
	}()
	err := server.Handshake(short(t))
	if err != nil {
		server.Close()
	}
	if e := <-joined; err == nil && e != nil {
		t.Error(e)
	}
	return server, err
}

var everyMode = []mtproxy.Mode{mtproxy.Plain, mtproxy.Padded, mtproxy.FakeTLS}

// "FindSecret calls try as often as it likes, which returns the place in that
// set, and returns the place in Secrets": in every mode, with the context of
// the handshake.
func TestFindSecretDecidesWhoAClientIs(t *testing.T) {
	type key struct{}
	secrets := someSecrets(40)
	for _, mode := range everyMode {
		for _, want := range []int{0, 7, 21, 39} {
			var queries []mtwire.SecretQuery
			config := &mtwire.ListenConfig{
				Secrets: secrets, HandshakeTimeout: 50 * time.Millisecond,
				FindSecret: func(ctx context.Context, q mtwire.SecretQuery, try func(*mtwire.SecretSet) int) int {
					queries = append(queries, q)
					if i := try(mtwire.NewSecretSet()); i != -1 {
						t.Errorf("place %d in an empty set", i)
					}
					if i := try(mtwire.NewSecretSet(secrets[want], secrets[20])); i >= 0 {
						return []int{want, 20}[i]
					}
					last := mtwire.NewSecretSet(secrets[38:]...)
					if last.Len() != 2 {
						t.Errorf("a set of %d", last.Len())
					}
					if i := try(last); i >= 0 {
						return 38 + i
					}
					return -1
				},
			}
			for _, c := range []struct{ has, want int }{{want, want}, {20, 20}, {38, 38}, {5, -1}} {
				queries = nil
				server, err := handshake(t, config, secrets[c.has].Key, mode)
				var unknown *mtwire.UnknownError
				if c.want < 0 && !errors.As(err, &unknown) || c.want >= 0 && (err != nil || server.Transport().Secret != c.want) {
					t.Errorf("mode %v, secret %d: %v, want %d: %v", mode, c.has, server.Transport().Secret, c.want, err)
				}
				first := queries[0]
				named := mode != mtproxy.FakeTLS && first == (mtwire.SecretQuery{Length: obfuscation.InitLength}) ||
					mode == mtproxy.FakeTLS && first.FakeTLS && first.ServerName == "a.example" && first.Length > 500
				// A hello that is none may still be an init payload.
				if times := len(queries); !named || times != 1 && (times != 2 || c.want >= 0 || queries[1].FakeTLS) {
					t.Errorf("mode %v, secret %d: asked for %+v", mode, c.has, queries)
				}
			}
		}
	}
	asked := 0
	server, socket := serve(t, &mtwire.ListenConfig{
		Secrets: secrets, HandshakeTimeout: 50 * time.Millisecond,
		FindSecret: func(ctx context.Context, _ mtwire.SecretQuery, _ func(*mtwire.SecretSet) int) int {
			if ctx.Value(key{}) == "of the handshake" {
				asked++
			}
			return -1
		},
	})
	socket.Write(make([]byte, 64))
	server.Handshake(context.WithValue(short(t), key{}, "of the handshake"))
	if asked != 1 {
		t.Errorf("asked %d times with the handshake's context", asked)
	}
}

// A server that serves clients without a secret too looks for a secret first.
func TestFindSecretComesBeforeNoSecret(t *testing.T) {
	secrets := someSecrets(3)
	all := mtwire.NewSecretSet(secrets...)
	config := &mtwire.ListenConfig{
		Secrets: secrets, AllowNoSecret: true,
		FindSecret: func(_ context.Context, _ mtwire.SecretQuery, try func(*mtwire.SecretSet) int) int { return try(all) },
	}
	if server, err := handshake(t, config, secrets[2].Key, mtproxy.Padded); err != nil || server.Transport().Secret != 2 {
		t.Errorf("%d, %v", server.Transport().Secret, err)
	}
	server, socket := serve(t, config)
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.Abridged})
	if err != nil {
		t.Fatal(err)
	}
	socket.Write(init[:])
	if err := server.Handshake(short(t)); err != nil || server.Transport().Secret != -1 {
		t.Errorf("%d, %v", server.Transport().Secret, err)
	}
}

// "Permit is asked once, with a Transport that is complete. An error makes the
// client unknown": with its bytes, and nothing said to it but FakeTLS's own.
func TestPermitTurnsClientsDown(t *testing.T) {
	secrets := someSecrets(3)
	refused := errors.New("not like this")
	for _, mode := range everyMode {
		for _, answer := range []error{nil, refused} {
			var asked []mtwire.Transport
			replays := 0
			handed := make(chan []byte, 1)
			config := &mtwire.ListenConfig{
				Secrets: secrets,
				Permit:  func(t mtwire.Transport) error { asked = append(asked, t); return answer },
				Replay:  func([16]byte) bool { replays++; return false },
				Unknown: func(_ context.Context, conn net.Conn, why error) {
					if !errors.Is(why, refused) {
						t.Errorf("why: %v", why)
					}
					b := make([]byte, obfuscation.InitLength)
					io.ReadFull(conn, b)
					handed <- b
				},
			}
			server, err := handshake(t, config, secrets[1].Key, mode)
			var unknown *mtwire.UnknownError
			if !errors.Is(err, answer) || answer != nil && (!errors.As(err, &unknown) || len(unknown.First) < obfuscation.InitLength) {
				t.Errorf("mode %v: %v", mode, err)
			}
			want := mtwire.Transport{Obfuscated: true, Protocol: mtwire.PaddedIntermediate, DC: 2, Secret: 1}
			if mode == mtproxy.FakeTLS {
				want.FakeTLS, want.ServerName = true, "a.example"
			}
			if len(asked) != 1 || asked[0] != want || answer == nil && server.Transport() != want {
				t.Errorf("mode %v: asked about %+v, want %+v", mode, asked, want)
			}
			// One who is turned down for an init payload may come again with it.
			if wantReplays := map[bool]int{true: 1, false: 0}[answer == nil || mode == mtproxy.FakeTLS]; replays != wantReplays {
				t.Errorf("mode %v, %v: remembered %d times", mode, answer, replays)
			}
			if answer != nil && mode != mtproxy.FakeTLS {
				if b := <-handed; !bytes.Equal(b, unknown.First[:len(b)]) {
					t.Errorf("mode %v: other bytes are handed over", mode)
				}
			} else if len(handed) != 0 {
				t.Errorf("mode %v: a connection is handed over that something was answered on", mode)
			}
		}
	}
}

// "DataSize is the length of the data record's body. 0 means a random one of
// 2048 to 4096."
func TestFlightIsAsLongOnTheWire(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	for _, size := range []int{1, 100, 5000, 16640, 0} {
		var names []string
		server, socket := serve(t, &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{secret},
			Flight: func(name string) faketls.ServerHelloShape {
				names = append(names, name)
				return faketls.ServerHelloShape{DataSize: size}
			},
		})
		hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
		if err != nil {
			t.Fatal(err)
		}
		go server.Handshake(short(t))
		socket.Write(hello)
		var lengths []int
		for range 3 {
			var head [5]byte
			if _, err := io.ReadFull(socket, head[:]); err != nil {
				t.Fatal(err)
			}
			lengths = append(lengths, int(head[3])<<8|int(head[4]))
			if _, err := io.CopyN(io.Discard, socket, int64(lengths[len(lengths)-1])); err != nil {
				t.Fatal(err)
			}
		}
		if got := lengths[2]; got != size && (size != 0 || got < 2048 || got > 4096) {
			t.Errorf("%d bytes, want %d", got, size)
		}
		if !slices.Equal(names, []string{"example.com"}) {
			t.Errorf("asked for %q", names)
		}
	}
}

// "Listener.Server serves one connection that was accepted elsewhere, on the
// listener's terms."
func TestListenerServesConnectionsOfOthers(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	terms := mtwire.NewListener(nil, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}, HandshakeTimeout: 50 * time.Millisecond})
	for _, key := range [][16]byte{secret.Key, {}} {
		socket, accepted, err := mtwiretest.Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		server := terms.Server(accepted)
		defer server.Close()
		client, err := mtwire.Client(short(t), socket, mtwire.Endpoint{Secret: mtwire.Secret{Key: key}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Send(short(t), encrypted(3)); err != nil {
			t.Fatal(err)
		}
		p, err := server.Receive(short(t))
		if known := key == secret.Key; known != (err == nil) || known && len(p.Payload) != 24+3*16 {
			t.Errorf("%d bytes, %v", len(p.Payload), err)
		}
	}
}

// "Await waits for a client's first byte and goes no further. When ctx ends
// first, nothing is lost."
func TestAwaitTakesNothingAway(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	server, socket := serve(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if err := server.Await(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before the first byte: %v", err)
		}
		cancel()
	}
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
	if err != nil {
		t.Fatal(err)
	}
	socket.Write(hello)
	for range 3 {
		if err := server.Await(short(t)); err != nil {
			t.Errorf("after it: %v", err)
		}
	}
	socket.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, _ := socket.Read(make([]byte, 1)); n != 0 {
		t.Error("the hello was answered")
	}
	socket.SetReadDeadline(time.Now().Add(10 * time.Second))
	ctx, cancel := context.WithCancel(context.Background())
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake(ctx) }()
	if _, err := io.ReadFull(socket, make([]byte, 1000)); err != nil {
		t.Errorf("the hello is lost: %v", err)
	}
	cancel()
	if err := <-shaken; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	socket.Close()
	if err := server.Handshake(short(t)); err == nil {
		t.Error("a handshake on a closed connection")
	} else if again := server.Await(short(t)); again == nil || again.Error() != err.Error() {
		t.Errorf("%v, and then %v", err, again)
	}
}

// A connection that ends before its first byte is over, and Await is at once
// where the handshake is.
func TestAwaitIsTheHandshakesBeginning(t *testing.T) {
	server, socket := serve(t, nil)
	socket.Close()
	err := server.Await(short(t))
	if !errors.Is(err, io.EOF) || !strings.HasPrefix(err.Error(), "handshake: ") {
		t.Error(err)
	}
	if again := server.Handshake(short(t)); !errors.Is(again, io.EOF) {
		t.Errorf("and then %v", again)
	}
	server, socket = serve(t, nil)
	socket.Write(unhex("eeeeeeee"))
	if err := server.Handshake(short(t)); err != nil {
		t.Fatal(err)
	}
	if err := server.Await(short(t)); err != nil {
		t.Errorf("after the handshake: %v", err)
	}
}
