package handshake_test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// testAuth is an Auth that tries its secrets in order. Its functions replace its methods if
// they are set.
type testAuth struct {
	secrets  []mtproxy.Secret
	find     func(ctx context.Context, q handshake.Query, try func(*mtproxy.KeySet) int) (int, error)
	allow    func(t detect.Transport, key int) error
	replayed func(id [16]byte) bool
	shape    faketls.ServerHelloShape
	patience time.Duration
	refused  error // of ServerHello
	// undecided is called by Undecided.
	undecided func(first []byte)
}

func (a *testAuth) Find(ctx context.Context, q handshake.Query, try func(*mtproxy.KeySet) int) (int, error) {
	if a.find != nil {
		return a.find(ctx, q, try)
	}
	if i := try(mtproxy.NewKeySet(a.secrets...)); i >= 0 {
		return i, nil
	}
	return -1, handshake.ErrNoMatch
}

func (a *testAuth) Allow(t detect.Transport, key int) error {
	if a.allow == nil {
		return nil
	}
	return a.allow(t, key)
}

func (a *testAuth) Replayed(id [16]byte) bool { return a.replayed != nil && a.replayed(id) }

func (a *testAuth) ServerHello(*faketls.ClientHello) (faketls.ServerHelloShape, time.Duration, error) {
	return a.shape, a.patience, a.refused
}

func (a *testAuth) Undecided(first []byte) {
	if a.undecided != nil {
		a.undecided(first)
	}
}

// withSecrets is the configuration of a server that requires a secret.
var withSecrets = &handshake.Config{Secrets: true}

// run calls Await and Run.
func run(ctx context.Context, h *handshake.Handshake, config *handshake.Config, auth handshake.Auth) (*handshake.Result, error) {
	if err := h.Await(ctx); err != nil {
		return nil, err
	}
	return h.Run(ctx, config, auth)
}

// short returns a context that ends a test that hangs.
func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func secretOf(t testing.TB, text string) mtproxy.Secret {
	t.Helper()
	secret, err := mtproxy.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// tcpPair returns both ends of a TCP connection, which the end of the test closes.
func tcpPair(t testing.TB) (server, client *net.TCPConn) {
	t.Helper()
	client, server, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

// encrypted returns a payload with the length of an encrypted message of so many blocks.
func encrypted(blocks int) []byte {
	b := make([]byte, 24+16*blocks)
	rand.Read(b)
	return b
}

// upload is an init payload and the bytes that a client sends behind it.
type upload struct {
	wire  []byte // the init payload, and clear encrypted
	clear []byte
	obfuscation.Streams
}

func newUpload(t testing.TB, key [16]byte, clear []byte) *upload {
	t.Helper()
	payload, init, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, DC: 4, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	streams := init.Streams(frame.Client)
	wire := append(payload[:], clear...)
	streams.Send.XORKeyStream(wire[len(payload):], clear)
	return &upload{wire, clear, streams}
}

func clientHello(t testing.TB, secret mtproxy.Secret) []byte {
	t.Helper()
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

// rest reads the stream of a result to its end, and decrypts it, as a proxy does.
func rest(t *testing.T, r *handshake.Result) []byte {
	t.Helper()
	r.Conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	b, err := io.ReadAll(r.Conn)
	if err != nil {
		t.Fatal(err)
	}
	if r.Records != nil {
		n, err := r.Records.Deframe(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[:n]
	}
	b = append(r.Buffered, b...)
	r.Upload.StreamAt(obfuscation.InitLength).XORKeyStream(b, b)
	return b
}

// A connection that ends before its first byte ends the handshake.
func TestAwaitReturnsTheEndOfTheConnection(t *testing.T) {
	server, socket := tcpPair(t)
	h := handshake.New(server)
	socket.Close()
	if err := h.Await(short(t)); err != io.EOF || h.Resumable() {
		t.Errorf("%v, resumable %v", err, h.Resumable())
	}
}

// Beside the ciphers of processors without vector instructions, a match of an init payload
// allocates at most once, for the argument of Find, however many secrets there are.
func TestMatchingAllocatesOnce(t *testing.T) {
	secrets := make([]mtproxy.Secret, 100)
	for i := range secrets {
		secrets[i] = mtproxy.Secret{Mode: mtproxy.Plain, Key: [16]byte{1, byte(i)}}
	}
	set := mtproxy.NewKeySet(secrets...)
	auth := &testAuth{find: func(_ context.Context, _ handshake.Query, try func(*mtproxy.KeySet) int) (int, error) {
		return try(set), nil
	}}
	wire := newUpload(t, secrets[99].Key, nil).wire
	payload := [obfuscation.InitLength]byte(wire)
	ciphers := testing.AllocsPerRun(100, func() { obfuscation.Match(&payload, set.Keys()) })
	if n := handshake.MatchAllocations(withSecrets, auth, wire); n > ciphers+1 {
		t.Errorf("%v allocations, of which %v are of ciphers", n, ciphers)
	}
}
