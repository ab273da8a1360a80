package conns

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// testTimeout ends a test that hangs.
const testTimeout = time.Minute

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// listenConfig accepts every mode.
func listenConfig(t *testing.T) (config *mtwire.ListenConfig, client *tls.Config) {
	server, client, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := mtwire.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		t.Fatal(err)
	}
	return &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{secret}, AllowNoSecret: true, ObfuscatedFull: true, TLS: server,
	}, client
}

// inEveryMode calls test with a client for every kind of connection and every mode,
// whose server is handle. The modes of a kind run in parallel.
func inEveryMode(t *testing.T, handle func(ctx context.Context, conn *mtwire.Conn), test func(t *testing.T, client *mtwire.Conn)) {
	for kind, listen := range kinds {
		t.Run(kind, func(t *testing.T) {
			ln, dial := listen(t)
			config, clientTLS := listenConfig(t)
			ctx, cancel := context.WithCancel(context.Background())
			served := make(chan error, 1)
			go func() { served <- mtwire.NewListener(ln, config).Serve(ctx, handle) }()
			t.Run("modes", func(t *testing.T) {
				for _, m := range append(mtwiretest.DirectModes(), mtwiretest.ProxiedModes()...) {
					t.Run(m.Transport, func(t *testing.T) {
						t.Parallel()
						var below net.Conn
						client, err := mtwire.Dial(short(t), fmt.Sprintf(m.URL, "localhost:1"), &mtwire.DialConfig{
							TLS: clientTLS, ObfuscatedFull: true,
							DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
								below, err = dial(ctx, network, address)
								return below, err
							},
						})
						if err != nil {
							t.Fatal(err)
						}
						test(t, client)
						if below != nil {
							below.Close() // TLS would wait for its peer, which does not read
						}
						client.Close()
					})
				}
			})
			cancel()
			if err := <-served; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// encrypted returns a payload with the length of an encrypted message.
func encrypted(blocks int) []byte {
	b := make([]byte, 24+16*blocks)
	rand.Read(b)
	return b
}

// exchange sends a payload, and compares it with the answer.
func exchange(t *testing.T, client *mtwire.Conn, payload []byte) {
	t.Helper()
	if err := client.Send(short(t), payload); err != nil {
		t.Fatal(err)
	}
	if p, err := client.Receive(short(t)); err != nil || !bytes.Equal(p.Payload, payload) {
		t.Fatalf("%d of %d bytes came back, %v", len(p.Payload), len(payload), err)
	}
}

// cancelled returns the error of a Receive that waits for nothing.
func cancelled(conn *mtwire.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := conn.Receive(ctx)
	return err
}

// Every transport works over every kind of connection, and a Receive that its context
// ended has lost nothing, on either side.
func TestReceiveThatItsContextEndedLosesNothing(t *testing.T) {
	var waits atomic.Int64
	echo := func(ctx context.Context, conn *mtwire.Conn) {
		for {
			p, err := conn.Receive(ctx)
			if err != nil {
				return
			}
			answer := bytes.Clone(p.Payload)
			if len(answer) == len(waitFor) {
				waits.Add(1)
				if err := cancelled(conn); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("server: %v", err)
				}
			}
			if err := conn.Send(ctx, answer); err != nil {
				return
			}
		}
	}
	inEveryMode(t, echo, func(t *testing.T, client *mtwire.Conn) {
		exchange(t, client, waitFor)
		if err := cancelled(client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("client: %v", err)
		}
		for _, blocks := range []int{4, 20_000} {
			exchange(t, client, encrypted(blocks))
		}
	})
	if n, want := int(waits.Load()), len(kinds)*len(append(mtwiretest.DirectModes(), mtwiretest.ProxiedModes()...)); n != want {
		t.Errorf("%d servers waited, want %d", n, want)
	}
}

// waitFor is a payload that makes the server wait for nothing, before its answer.
var waitFor = encrypted(3)

// A Send that its peer does not read ends with its context, and later ones fail at once
// with an error that is no context's.
func TestSendEndsWithItsContext(t *testing.T) {
	idle := func(ctx context.Context, conn *mtwire.Conn) {
		if _, err := conn.Receive(ctx); err == nil {
			<-ctx.Done()
		}
	}
	inEveryMode(t, idle, func(t *testing.T, client *mtwire.Conn) {
		if client.Transport().Carrier == mtwire.HTTP {
			return // there Send does not wait for the server
		}
		payload := encrypted(4 << 20 / 16)
		var err error
		timeouts := 0
		for sent := 0; err == nil || errors.Is(err, context.DeadlineExceeded); sent++ {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			start := time.Now()
			if err = client.Send(ctx, payload); err != nil {
				timeouts++
			}
			cancel()
			if took := time.Since(start); took > testTimeout/2 || sent > 100 {
				t.Fatalf("Send %d returned after %v: %v", sent, took, err)
			}
		}
		if timeouts < 2 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("after %d errors: %v", timeouts, err)
		}
	})
}

// A client that sends only a part of its handshake is passed to Unauthenticated when
// HandshakeTimeout is over, with its bytes and a connection that works.
func TestHandshakeTimeoutIsKept(t *testing.T) {
	for kind, listen := range kinds {
		t.Run(kind, func(t *testing.T) {
			ln, dial := listen(t)
			config, _ := listenConfig(t)
			config.HandshakeTimeout = 50 * time.Millisecond
			config.Unauthenticated = func(_ context.Context, conn net.Conn, err error) {
				first := make([]byte, 3)
				if _, err := io.ReadFull(conn, first); err != nil || string(first) != "abc" {
					t.Errorf("read %q, %v", first, err)
				}
				io.WriteString(conn, "answer")
			}
			reasons := make(chan error, 1)
			ctx, cancel := context.WithCancel(context.Background())
			served := make(chan error, 1)
			go func() {
				served <- mtwire.NewListener(ln, config).Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
					reasons <- conn.Handshake(ctx)
				})
			}()
			client, err := dial(short(t), "tcp", "localhost:1")
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			io.WriteString(client, "abc")
			if answer, err := io.ReadAll(client); string(answer) != "answer" {
				t.Errorf("answered %q, %v", answer, err)
			}
			if err := <-reasons; !errors.Is(err, mtwire.ErrHandshakeTimeout) {
				t.Error(err)
			}
			cancel()
			<-served
		})
	}
}
