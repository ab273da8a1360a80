package handshake_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/wsconn"
)

// Await consumes and answers nothing, however often it is called. A context that ends before
// the first byte, or between the hello and the init payload, loses nothing.
func TestAwaitConsumesNothing(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	server, socket := tcpPair(t)
	h, auth := handshake.New(server), &testAuth{secrets: []mtproxy.Secret{secret}}
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if err := h.Await(ctx); !errors.Is(err, context.DeadlineExceeded) || !h.Resumable() {
			t.Errorf("before the first byte: %v, resumable %v", err, h.Resumable())
		}
		cancel()
	}
	socket.Write(clientHello(t, secret))
	for range 3 {
		if err := h.Await(short(t)); err != nil {
			t.Errorf("after it: %v", err)
		}
	}
	socket.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, _ := socket.Read(make([]byte, 1)); n != 0 {
		t.Error("the hello was answered")
	}
	socket.SetReadDeadline(time.Now().Add(30 * time.Second))
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() {
		_, err := h.Run(ctx, withSecrets, auth)
		ran <- err
	}()
	if _, err := io.ReadFull(socket, make([]byte, 1000)); err != nil {
		t.Errorf("the hello is lost: %v", err)
	}
	cancel()
	if err := <-ran; !errors.Is(err, context.Canceled) || !h.Resumable() {
		t.Errorf("between the hello and the init payload: %v, resumable %v", err, h.Resumable())
	}
	u := newUpload(t, secret.Key, nil)
	socket.Write(append(faketls.AppendRecordHeader(nil, len(u.wire)), u.wire...))
	if r, err := h.Run(short(t), withSecrets, auth); err != nil || r.DC != 4 {
		t.Errorf("resumed: %v", err)
	}
}

// A handshake whose context ends before the first byte can be resumed, also
// before the first byte inside FakeTLS.
func TestHandshakeIsResumed(t *testing.T) {
	for _, text := range []string{mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		secret := secretOf(t, text)
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			h, auth := handshake.New(near), &testAuth{secrets: []mtproxy.Secret{secret}}
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				time.Sleep(15 * time.Minute)
				client, err := mtwire.Client(context.Background(), far, mtwire.Endpoint{Secret: secret}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(20 * time.Minute)
				if err := client.Send(context.Background(), encrypted(3)); err != nil {
					t.Error(err)
				}
				far.Close()
			}()
			for range 3 {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				if _, err := run(ctx, h, withSecrets, auth); !errors.Is(err, context.DeadlineExceeded) || !h.Resumable() {
					t.Errorf("before the first byte: %v, resumable %v", err, h.Resumable())
				}
				cancel()
			}
			r, err := run(context.Background(), h, withSecrets, auth)
			if err != nil {
				t.Fatal(err)
			}
			if got := rest(t, r); len(got) < 4+24+3*16 {
				t.Errorf("%d bytes", len(got))
			}
			<-sent
		})
	}
}

// AwaitFor returns a timeout at its limit, as often as it is called, and consumes nothing.
// The limit has no effect on the rest of the handshake, whose own time may be unlimited.
func TestAwaitForLimitsTheFirstByteOnly(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	u := newUpload(t, secret.Key, nil)
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		h := handshake.New(near)
		for range 3 {
			start := time.Now()
			err := h.AwaitFor(t.Context(), time.Second)
			if err != os.ErrDeadlineExceeded || !h.Resumable() || time.Since(start) != time.Second {
				t.Fatalf("%v after %v, resumable %v", err, time.Since(start), h.Resumable())
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.AwaitFor(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || !h.Resumable() {
			t.Errorf("%v at the end of the context", err)
		}
		go func() {
			far.Write(u.wire[:1])
			time.Sleep(time.Hour)
			far.Write(u.wire[1:])
		}()
		if err := h.AwaitFor(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		config := &handshake.Config{Secrets: true, Timeout: -1}
		if _, err := h.Run(t.Context(), config, &testAuth{secrets: []mtproxy.Secret{secret}}); err != nil {
			t.Error(err)
		}
	})
}

// A context may end after any byte of a client's handshake: Await and Run return
// its error, and a later call continues with nothing lost. After the last byte the
// handshake succeeds, however often it was interrupted.
func TestHandshakeCanBeInterruptedAfterAnyByte(t *testing.T) {
	plain, ee := secretOf(t, mtwiretest.PaddedSecret), secretOf(t, mtwiretest.FakeTLSSecret)
	u := newUpload(t, plain.Key, nil)
	inside := newUpload(t, ee.Key, nil)
	hello := clientHello(t, ee)
	stream := append(bytes.Clone(hello), "\x14\x03\x03\x00\x01\x01"...)
	for piece := range slices.Chunk(inside.wire, 10) {
		stream = append(faketls.AppendRecordHeader(stream, len(piece)), piece...)
	}
	for name, c := range map[string]struct {
		secret mtproxy.Secret
		config handshake.Config
		bytes  []byte
	}{
		"init payload":        {plain, handshake.Config{Secrets: true}, u.wire},
		"FakeTLS":             {ee, handshake.Config{Secrets: true, ClockWindow: -1}, stream},
		"Intermediate":        {mtproxy.Secret{}, handshake.Config{}, []byte("\xee\xee\xee\xee")},
		"Full in obfuscation": {mtproxy.Secret{}, handshake.Config{ObfuscatedFull: true}, obfuscatedFull(t)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.config.Timeout = 24 * time.Hour
				near, far := net.Pipe()
				ran := interrupted(handshake.New(near), &c.config, &testAuth{secrets: []mtproxy.Secret{c.secret}})
				go io.Copy(io.Discard, far) // the answer to a hello
				far.SetWriteDeadline(time.Now().Add(24 * time.Hour))
				for i := range c.bytes {
					time.Sleep(3 * time.Second)
					if _, err := far.Write(c.bytes[i : i+1]); err != nil {
						t.Errorf("byte %d: %v", i, err)
						break
					}
				}
				if times, err := ran(); err != nil || times < len(c.bytes) {
					t.Errorf("interrupted %d times in %d bytes: %v", times, len(c.bytes), err)
				}
				far.Close()
			})
		})
	}
}

// Inside TLS and WebSocket, a context may end between any two frames. Here each has one byte
// of the init payload.
func TestHandshakeCanBeInterruptedBetweenFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverTLS, clientTLS, err := mtwiretest.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		ran := interrupted(handshake.New(near), &handshake.Config{TLS: serverTLS, Timeout: 24 * time.Hour}, &testAuth{})
		ws, err := wsconn.Dial(t.Context(), "wss://localhost/apiws", &wsconn.DialConfig{
			TLSClientConfig: clientTLS,
			DialContext:     func(context.Context, string, string) (net.Conn, error) { return far, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: mtwire.Abridged})
		if err != nil {
			t.Fatal(err)
		}
		for i := range init {
			time.Sleep(3 * time.Second)
			if _, err := ws.Write(init[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if times, err := ran(); err != nil || times < len(init) {
			t.Errorf("interrupted %d times in %d bytes: %v", times, len(init), err)
		}
		near.Close()
		far.Close()
	})
}

// interrupted runs a handshake with contexts of one second, again and again until it ends.
// ran waits for that, and returns the number of interruptions and the error.
func interrupted(h *handshake.Handshake, config *handshake.Config, auth handshake.Auth) (ran func() (times int, err error)) {
	done := make(chan struct{})
	times, err := 0, error(nil)
	go func() {
		defer close(done)
		for {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err = run(ctx, h, config, auth)
			cancel()
			if !h.Resumable() || !errors.Is(err, context.DeadlineExceeded) {
				return
			}
			times++
		}
	}()
	return func() (int, error) { <-done; return times, err }
}

// obfuscatedFull returns an init payload without a tag and the first frame of Full
// behind it.
func obfuscatedFull(t *testing.T) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	client, err := mtwire.Client(short(t), far, mtwire.Endpoint{Protocol: mtwire.Full, Obfuscated: true}, &mtwire.DialConfig{ObfuscatedFull: true})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		client.Send(short(t), encrypted(0))
		client.Close()
	}()
	b, err := io.ReadAll(near)
	if err != nil {
		t.Fatal(err)
	}
	return b[:obfuscation.FullLength]
}

// A hello whose key fits is remembered although its search ends with the context: the
// client may leave before its refusal. When the search is resumed, the hello is no replay
// of itself.
func TestInterruptedSearchIsNoReplayOfItself(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	server, socket := tcpPair(t)
	ctx, cancel := context.WithCancel(context.Background())
	stored := map[[16]byte]int{}
	auth := &testAuth{
		find: func(ctx context.Context, _ handshake.Query, try func(*mtproxy.KeySet) int) (int, error) {
			if i := try(mtproxy.NewKeySet(secret)); i != 0 {
				t.Errorf("index %d", i)
			}
			cancel()
			return 0, ctx.Err()
		},
		replayed: func(id [16]byte) bool { stored[id]++; return stored[id] > 1 },
	}
	h := handshake.New(server)
	u := newUpload(t, secret.Key, nil)
	socket.Write(slices.Concat(clientHello(t, secret), faketls.AppendRecordHeader(nil, len(u.wire)), u.wire))
	if _, err := run(ctx, h, withSecrets, auth); !errors.Is(err, context.Canceled) || !h.Resumable() || len(stored) != 1 {
		t.Errorf("%v, resumable %v, %d stored", err, h.Resumable(), len(stored))
	}
	if _, err := h.Run(short(t), withSecrets, auth); err != nil || len(stored) != 1 {
		t.Errorf("resumed: %v, %d stored", err, len(stored))
	}
}
