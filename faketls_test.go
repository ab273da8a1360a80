package mtwire_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtwiretest"
)

var helloTime = time.Unix(1767225600, 0)

// clientHello returns a FakeTLS hello with that key and domain, made at helloTime.
func clientHello(t *testing.T, key [16]byte, domain string) []byte {
	t.Helper()
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{
		Key: key, Domain: domain, Time: func() time.Time { return helloTime },
	})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

// offerHello sends first to a server and closes the sending direction. It returns nil if
// the server answers, and otherwise the handshake's error. If the server rejects first, the
// Unauthenticated hook must read all of it.
func offerHello(t *testing.T, config mtwire.ListenConfig, first []byte) error {
	t.Helper()
	var forwarded []byte
	config.Unauthenticated = func(_ context.Context, conn net.Conn, _ error) { forwarded, _ = io.ReadAll(conn) }
	server, client := serve(t, &config)
	client.Write(first)
	client.CloseWrite()
	err := server.Handshake(short(t))
	if again := server.Handshake(short(t)); again != err {
		t.Errorf("second Handshake: %v, want %v", again, err)
	}
	server.Close()
	if answer, _ := io.ReadAll(client); len(answer) > 0 {
		return nil
	}
	var rejected *mtwire.UnauthenticatedError
	if errors.As(err, &rejected) && !bytes.Equal(forwarded, first) {
		t.Errorf("the hook read %d bytes, want %d: %v", len(forwarded), len(first), err)
	}
	return err
}

// A rejected hello is not answered. The error has the reason, and the bytes can be forwarded
// to another server.
func TestFakeTLSHelloIsRejectedWithItsReason(t *testing.T) {
	key, other := [16]byte{1}, [16]byte{2}
	secrets := []mtwire.Secret{{Key: other}, {Key: key, Domain: "a.example"}}
	hello := clientHello(t, key, "a.example")
	at := func(d time.Duration) func() time.Time {
		return func() time.Time { return helloTime.Add(d) }
	}
	known := func([16]byte) bool { return true }
	for name, c := range map[string]struct {
		config mtwire.ListenConfig
		first  []byte
		want   error
	}{
		"good":            {mtwire.ListenConfig{Secrets: secrets, Time: at(7 * time.Second)}, hello, nil},
		"no clock window": {mtwire.ListenConfig{Secrets: secrets, ClockWindow: -1}, hello, nil},
		"no server name":  {mtwire.ListenConfig{Secrets: secrets, Time: at(0)}, withoutSNI(t, key), nil},
		"wrong key":       {mtwire.ListenConfig{Secrets: secrets[:1], Time: at(0)}, hello, mtwire.ErrNoMatch},
		"clock too late":  {mtwire.ListenConfig{Secrets: secrets, Time: at(121 * time.Second)}, hello, faketls.ErrStaleClock},
		"clock too early": {mtwire.ListenConfig{Secrets: secrets, Time: at(-121 * time.Second)}, hello, faketls.ErrStaleClock},
		"small window":    {mtwire.ListenConfig{Secrets: secrets, Time: at(4 * time.Second), ClockWindow: 3 * time.Second}, hello, faketls.ErrStaleClock},
		"wrong name":      {mtwire.ListenConfig{Secrets: secrets, Time: at(0)}, clientHello(t, key, "b.example"), mtwire.ErrWrongServerName},
		"replay":          {mtwire.ListenConfig{Secrets: secrets, Time: at(0), Replay: known}, hello, mtwire.ErrReplay},
		"incomplete":      {mtwire.ListenConfig{Secrets: secrets, Time: at(0)}, hello[:500], io.ErrUnexpectedEOF},
		"silence":         {mtwire.ListenConfig{Secrets: secrets, Time: at(0)}, nil, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			err := offerHello(t, c.config, c.first)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			var rejected *mtwire.UnauthenticatedError
			if c.want != nil && len(c.first) > 0 && (!errors.As(err, &rejected) || !bytes.Equal(rejected.First, c.first)) {
				t.Errorf("%v does not have the %d bytes received", err, len(c.first))
			}
		})
	}
}

// sign returns hello with the digest and time of key and helloTime.
func sign(t *testing.T, hello []byte, key [16]byte) []byte {
	t.Helper()
	signed, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{
		Key: key, Domain: "-", Time: func() time.Time { return helloTime },
		Hello: func(string) ([]byte, error) { return hello, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// withoutSNI returns a hello that has no extensions.
func withoutSNI(t *testing.T, key [16]byte) []byte {
	t.Helper()
	head := unhex("1603010200010001fc0303")
	hello := append(head, make([]byte, 5+512-len(head))...)
	hello[43] = 32 // the session ID's length
	return sign(t, hello, key)
}

// Replay is called for hellos with a key that matches, so that others cannot fill its
// memory. A hello that is rejected for its server name or clock is stored as well. Its
// time, which is not authenticated, is not part of the ID: it cannot be replayed with the
// right one.
func TestReplayIsCalledForHellosWithAKeyAndIgnoresTheirClock(t *testing.T) {
	key := [16]byte{1}
	seen := map[[16]byte]bool{}
	config := mtwire.ListenConfig{
		Secrets: []mtwire.Secret{{Key: key, Domain: "a.example"}}, ClockWindow: -1,
		Replay: func(id [16]byte) bool {
			known := seen[id]
			seen[id] = true
			return known
		},
	}
	hello := clientHello(t, key, "a.example")
	forged := bytes.Clone(hello)
	forged[11] ^= 1
	if err := offerHello(t, config, forged); !errors.Is(err, mtwire.ErrNoMatch) {
		t.Errorf("a forged hello: %v", err)
	}
	if len(seen) != 0 {
		t.Errorf("%d hellos without a key are stored", len(seen))
	}
	if err := offerHello(t, config, clientHello(t, key, "b.example")); !errors.Is(err, mtwire.ErrWrongServerName) || len(seen) != 1 {
		t.Errorf("a hello with another name: %v, %d stored", err, len(seen))
	}
	strict := config
	strict.ClockWindow, strict.Time = 0, func() time.Time { return time.Now().Add(time.Hour) }
	late := clientHello(t, key, "a.example")
	if err := offerHello(t, strict, late); !errors.Is(err, faketls.ErrStaleClock) {
		t.Errorf("a hello with a wrong clock: %v", err)
	}
	if err := offerHello(t, config, late); !errors.Is(err, mtwire.ErrReplay) {
		t.Errorf("its replay: %v, want ErrReplay", err)
	}
	if err := offerHello(t, config, hello); err != nil {
		t.Fatal(err)
	}
	hello[42] ^= 1
	if err := offerHello(t, config, hello); !errors.Is(err, mtwire.ErrReplay) {
		t.Errorf("the same hello with another clock: %v, want ErrReplay", err)
	}
}

func TestServerAcceptsAFragmentedHello(t *testing.T) {
	key := [16]byte{1}
	hello := clientHello(t, key, "a.example")
	var fragmented []byte
	for piece := range slices.Chunk(hello[5:], 300) {
		fragmented = append(fragmented, hello[:3]...)
		fragmented = binary.BigEndian.AppendUint16(fragmented, uint16(len(piece)))
		fragmented = append(fragmented, piece...)
	}
	config := mtwire.ListenConfig{Secrets: []mtwire.Secret{{Key: key}}, Time: func() time.Time { return helloTime }}
	if err := offerHello(t, config, fragmented); err != nil {
		t.Error(err)
	}
}

// When the time of a client that sent a part of a hello is over, the Unauthenticated hook
// gets a connection that still works, with that part put back in front.
func TestHelloThatTimesOutLeavesTheConnectionUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		half := clientHello(t, [16]byte{1}, "a.example")[:300]
		start := time.Now()
		server := mtwire.Server(b, &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{{Key: [16]byte{1}}}, HandshakeTimeout: 10 * time.Second,
			Unauthenticated: func(_ context.Context, conn net.Conn, reason error) {
				if took := time.Since(start); !errors.Is(reason, mtwire.ErrHandshakeTimeout) || took != 10*time.Second {
					t.Errorf("%v after %v", reason, took)
				}
				go a.Write([]byte("more"))
				b := make([]byte, len(half)+4)
				if _, err := io.ReadFull(conn, b); err != nil || string(b) != string(half)+"more" {
					t.Errorf("%d bytes are not those sent: %v", len(b), err)
				}
			},
		})
		defer server.Close()
		go a.Write(half)
		var rejected *mtwire.UnauthenticatedError
		if err := server.Handshake(t.Context()); !errors.As(err, &rejected) || !bytes.Equal(rejected.First, half) {
			t.Errorf("%v, want the %d bytes received", err, len(half))
		}
	})
}

// An invalid shape of the ServerHello is the server's error: the client is not
// unauthenticated.
func TestInvalidServerHelloShapeIsNotTheClientsError(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	for _, size := range []int{-5, 20_000} {
		err := offerHello(t, mtwire.ListenConfig{
			Secrets: []mtwire.Secret{secret}, ClockWindow: -1,
			ServerHello: func(string) faketls.ServerHelloShape { return faketls.ServerHelloShape{DataSize: size} },
		}, clientHello(t, secret.Key, secret.Domain))
		var rejected *mtwire.UnauthenticatedError
		if err == nil || errors.As(err, &rejected) {
			t.Errorf("DataSize %d: %v, want another error than UnauthenticatedError", size, err)
		}
	}
}

// The shape's DataSize is the length of the data record's body on the wire; 0
// means a random one of 2048 to 4096 bytes. ServerHello is called with the
// hello's server name.
func TestServerHelloHasItsShape(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	for _, size := range []int{1, 100, 5000, 16640, 0} {
		var names []string
		server, socket := serve(t, &mtwire.ListenConfig{
			Secrets: []mtwire.Secret{secret},
			ServerHello: func(name string) faketls.ServerHelloShape {
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
