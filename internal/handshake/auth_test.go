package handshake_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// someSecrets returns n different secrets, usable in every mode.
func someSecrets(n int) (secrets []mtproxy.Secret) {
	for i := range n {
		secrets = append(secrets, mtproxy.Secret{Key: [16]byte{1, 2, 3, byte(i)}})
	}
	return secrets
}

// join runs the handshake of a client with that key and mode. After an error, left has the
// bytes that can still be read from the connection.
func join(t *testing.T, config *handshake.Config, auth handshake.Auth, key [16]byte, mode mtproxy.Mode) (r *handshake.Result, left []byte, err error) {
	t.Helper()
	server, socket := tcpPair(t)
	secret := mtproxy.Secret{Key: key, Mode: mode}
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
	r, err = run(short(t), handshake.New(server), config, auth)
	if err != nil {
		server.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		left, _ = io.ReadAll(server)
		server.Close()
	}
	if e := <-joined; err == nil && e != nil {
		t.Error(e)
	}
	return r, left, err
}

var everyMode = []mtproxy.Mode{mtproxy.Plain, mtproxy.Padded, mtproxy.FakeTLS}

// In every mode, Find may call try any number of times. try returns an index in its set,
// and the result has the index that Find returns.
func TestFindIdentifiesTheClient(t *testing.T) {
	secrets := someSecrets(40)
	config := &handshake.Config{Secrets: true, Timeout: time.Minute}
	for _, mode := range everyMode {
		for _, want := range []int{0, 7, 21, 39} {
			var queries []handshake.Query
			auth := &testAuth{find: func(_ context.Context, q handshake.Query, try func(*mtproxy.KeySet) int) (int, error) {
				queries = append(queries, q)
				if i := try(mtproxy.NewKeySet()); i != -1 {
					t.Errorf("index %d in an empty set", i)
				}
				if i := try(mtproxy.NewKeySet(secrets[want], secrets[20])); i >= 0 {
					return []int{want, 20}[i], nil
				}
				if i := try(mtproxy.NewKeySet(secrets[38:]...)); i >= 0 {
					return 38 + i, nil
				}
				return -1, handshake.ErrNoMatch
			}}
			for _, c := range []struct{ has, want int }{{want, want}, {20, 20}, {38, 38}, {5, -1}} {
				queries = nil
				r, _, err := join(t, config, auth, secrets[c.has].Key, mode)
				var rejected *handshake.UnauthenticatedError
				if c.want < 0 && (!errors.As(err, &rejected) || !errors.Is(err, handshake.ErrNoMatch)) ||
					c.want >= 0 && (err != nil || r.Secret != c.want) {
					t.Errorf("mode %v, secret %d: %+v, want %d: %v", mode, c.has, r, c.want, err)
				}
				first := queries[0]
				named := mode != mtproxy.FakeTLS && !first.FakeTLS && first.ServerName == "" && first.Length == obfuscation.InitLength ||
					mode == mtproxy.FakeTLS && first.FakeTLS && first.ServerName == "a.example" && first.Length > 500
				// A hello that no key fits may still be an init payload.
				if times := len(queries); !named || times != 1 && (times != 2 || c.want >= 0 || queries[1].FakeTLS) {
					t.Errorf("mode %v, secret %d: asked for %+v", mode, c.has, queries)
				}
			}
		}
	}
}

// Find's error is the reason of the handshake's: it distinguishes a client whose key was not
// searched for from one that no secret matches.
func TestReasonOfFindIsKept(t *testing.T) {
	for _, mode := range everyMode {
		for _, reason := range []error{handshake.ErrNoMatch, handshake.ErrNotSearched, handshake.ErrWrongServerName} {
			if reason == handshake.ErrWrongServerName && mode != mtproxy.FakeTLS {
				continue // an init payload has no server name
			}
			auth := &testAuth{find: func(context.Context, handshake.Query, func(*mtproxy.KeySet) int) (int, error) { return -1, reason }}
			if _, _, err := join(t, withSecrets, auth, [16]byte{1}, mode); !errors.Is(err, reason) {
				t.Errorf("mode %v: %v, want %v", mode, err, reason)
			}
		}
	}
}

// A server that accepts clients without a secret too searches for a secret first.
func TestSecretsAreTriedBeforeNone(t *testing.T) {
	secrets := someSecrets(3)
	config := &handshake.Config{Secrets: true, AllowNoSecret: true}
	if r, _, err := join(t, config, &testAuth{secrets: secrets}, secrets[2].Key, mtproxy.Padded); err != nil || r.Secret != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	server, socket := tcpPair(t)
	payload, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.Abridged})
	if err != nil {
		t.Fatal(err)
	}
	socket.Write(payload[:])
	if r, err := run(short(t), handshake.New(server), config, &testAuth{secrets: secrets}); err != nil || r.Secret != -1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Allow is called once, with a complete Transport. Its error makes the client
// unauthenticated: First has all its bytes, and only a FakeTLS hello was answered.
func TestAllowRejectsClients(t *testing.T) {
	secrets := someSecrets(3)
	refused := errors.New("not in this mode")
	for _, mode := range everyMode {
		for _, answer := range []error{nil, refused} {
			var asked []detect.Transport
			replays := 0
			auth := &testAuth{
				secrets:  secrets,
				allow:    func(t detect.Transport, key int) error { asked = append(asked, t); return answer },
				replayed: func([16]byte) bool { replays++; return false },
			}
			r, left, err := join(t, withSecrets, auth, secrets[1].Key, mode)
			var rejected *handshake.UnauthenticatedError
			if !errors.Is(err, answer) || answer != nil && !errors.As(err, &rejected) {
				t.Fatalf("mode %v: %v", mode, err)
			}
			want := detect.Transport{Obfuscated: true, Protocol: frame.PaddedIntermediate, DC: 2, Secret: 1}
			if mode == mtproxy.FakeTLS {
				want.FakeTLS, want.ServerName = true, "a.example"
			}
			if len(asked) != 1 || asked[0] != want || answer == nil && r.Transport != want {
				t.Errorf("mode %v: asked about %+v, want %+v", mode, asked, want)
			}
			// Also that of a client that Allow rejected: it may be allowed later.
			if replays != 1 {
				t.Errorf("mode %v, %v: stored %d times", mode, answer, replays)
			}
			if answer == nil {
				continue
			}
			if rejected.Answered != (mode == mtproxy.FakeTLS) || len(rejected.First) < obfuscation.InitLength || len(left) != 0 {
				t.Errorf("mode %v: answered %v, %d bytes first, %d left", mode, rejected.Answered, len(rejected.First), len(left))
			}
		}
	}
}

// A rejected connection has no deadline, and each byte is either in First or can still be
// read.
func TestRejectedConnectionIsIntact(t *testing.T) {
	server, socket := tcpPair(t)
	sent := bytes.Repeat([]byte("no transport at all "), 100)
	socket.Write(sent)
	socket.CloseWrite()
	_, err := run(short(t), handshake.New(server), &handshake.Config{Secrets: true, Timeout: time.Hour}, &testAuth{secrets: someSecrets(1)})
	var rejected *handshake.UnauthenticatedError
	if !errors.As(err, &rejected) || rejected.Answered || time.Until(rejected.Until) < 50*time.Minute {
		t.Fatalf("%+v, %v", rejected, err)
	}
	left, err := io.ReadAll(handshake.Replay(server, rejected.First))
	if err != nil || !bytes.Equal(left, sent) {
		t.Errorf("%d bytes of %d, %v", len(left), len(sent), err)
	}
}

// A server that accepts FakeTLS only and has no secret rejects a good hello, with a
// reason.
func TestHelloToAServerWithoutSecretsIsRejected(t *testing.T) {
	server, socket := tcpPair(t)
	hello := clientHello(t, secretOf(t, mtwiretest.FakeTLSSecret))
	socket.Write(hello)
	_, err := run(short(t), handshake.New(server), &handshake.Config{FakeTLSOnly: true}, &testAuth{})
	var rejected *handshake.UnauthenticatedError
	if !errors.As(err, &rejected) || rejected.Err == nil || !bytes.Equal(rejected.First, hello) {
		t.Errorf("%T without a reason, or without the hello", err)
	}
}

// A context that ends a search ends the handshake with its error. Nothing is
// lost: the handshake goes on with the next context and searches again.
func TestSearchThatAContextEndsIsResumed(t *testing.T) {
	secret := someSecrets(1)[0]
	for _, mode := range everyMode {
		for _, config := range []*handshake.Config{withSecrets, {Secrets: true, AllowNoSecret: true}, {Secrets: true, ObfuscatedFull: true}} {
			server, socket := tcpPair(t)
			first := newUpload(t, secret.Key, nil).wire
			if mode == mtproxy.FakeTLS {
				first = clientHello(t, mtproxy.Secret{Key: secret.Key, Domain: "a.example"})
			}
			socket.Write(first)
			searches := 0
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			auth := &testAuth{find: func(ctx context.Context, _ handshake.Query, try func(*mtproxy.KeySet) int) (int, error) {
				if searches++; searches == 1 {
					cancel()
					<-ctx.Done()
					return -1, ctx.Err()
				}
				return try(mtproxy.NewKeySet(secret)), nil
			}}
			h := handshake.New(server)
			defer h.Close()
			if err := h.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Run(ctx, config, auth); err != context.Canceled || !h.Resumable() {
				t.Fatalf("mode %v: %v, resumable %v", mode, err, h.Resumable())
			}
			ctx = short(t)
			if mode == mtproxy.FakeTLS { // the init payload does not follow the answer
				ctx, cancel = context.WithCancel(ctx)
				go func() {
					socket.Read(make([]byte, 1))
					cancel()
				}()
			}
			if _, err := h.Run(ctx, config, auth); searches != 2 || mode != mtproxy.FakeTLS && err != nil || mode == mtproxy.FakeTLS && !h.Transport().FakeTLS {
				t.Errorf("mode %v: %d searches, %v", mode, searches, err)
			}
		}
	}
}

// An error of ServerHello rejects a client with a secret before anything is
// answered: with all its bytes, and that reason.
func TestHelloThatCannotBeAnsweredIsRejected(t *testing.T) {
	server, socket := tcpPair(t)
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	sent := append(clientHello(t, secret), "behind it"...)
	socket.Write(sent)
	refused := errors.New("the host answers otherwise")
	h := handshake.New(server)
	_, err := run(short(t), h, withSecrets, &testAuth{secrets: []mtproxy.Secret{secret}, refused: refused})
	var rejected *handshake.UnauthenticatedError
	if !errors.As(err, &rejected) || !errors.Is(err, refused) || rejected.Answered || h.Transport().FakeTLS {
		t.Fatalf("%+v", err)
	}
	socket.CloseWrite()
	if left, err := io.ReadAll(handshake.Replay(server, rejected.First)); err != nil || !bytes.Equal(left, sent) {
		t.Errorf("%d bytes of %d, %v", len(left), len(sent), err)
	}
	server.Close()
	if answer, err := io.ReadAll(socket); err != nil || len(answer) != 0 {
		t.Errorf("%x was answered, %v", answer, err)
	}
}
