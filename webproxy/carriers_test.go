//go:build !js

package webproxy

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

const testHost = "example.com" // which httptest's certificate is for

// hangTime is when a test that goes on takes something for hung. It is no time that
// something has to be done in: the machine may be slow.
const hangTime = 5 * time.Minute

var carriers = []Carrier{HTTPS, HTTPSLanes, WebSocket, WebSocketLanes}

// relay is a Server behind an HTTPS server on loopback.
type relay struct {
	*Server
	web  *httptest.Server
	link Link
}

// newRelay starts a relay with one user, whose link it returns. The site answers
// with its own name.
func newRelay(t testing.TB, carrier Carrier, http2 bool, change func(*ServerConfig)) *relay {
	t.Helper()
	link := Link{Host: testHost, Path: "some/path", Secret: mustSecret(t, countingHex)}
	config := ServerConfig{
		Host: link.Host, Path: link.Path, Users: []User{{Name: "u", Secret: link.Secret, Carrier: carrier}},
		Site:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "the site", http.StatusNotFound) }),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&config)
	}
	link.Path = config.Path
	s, err := NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(s)
	web.EnableHTTP2 = http2
	web.StartTLS()
	t.Cleanup(func() {
		s.Close()
		web.CloseClientConnections()
		web.Close()
	})
	return &relay{s, web, link}
}

// config returns a client's config, which connects to the relay. Close waits until the
// relay has answered, however slow it is.
func (r *relay) config() *DialConfig {
	return &DialConfig{
		CloseTimeout: hangTime,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, r.web.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: r.web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
	}
}

// dial returns a client.
func (r *relay) dial(t testing.TB, config *DialConfig) *Client {
	t.Helper()
	if config == nil {
		config = r.config()
	}
	c, err := Dial(t.Context(), r.link, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echo serves each stream by sending back what it receives.
func (r *relay) echo() {
	for {
		conn, err := r.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
		}()
	}
}

// eachCarrier runs a test for all carriers over HTTP/1.1 and HTTP/2.
func eachCarrier(t *testing.T, f func(t *testing.T, carrier Carrier, http2 bool)) {
	for _, carrier := range carriers {
		for version, http2 := range map[string]bool{"1.1": false, "2": true} {
			t.Run(fmt.Sprintf("%v/%s", carrier, version), func(t *testing.T) { f(t, carrier, http2) })
		}
	}
}

// exchange writes size pseudo-random bytes in pieces of random lengths, and checks
// that the same come back.
func exchange(conn net.Conn, size int, seed uint64) error {
	sent := sha256.New()
	written := make(chan error, 1)
	go func() {
		var key [32]byte
		binary.LittleEndian.PutUint64(key[:], seed)
		bytes := rand.NewChaCha8(key)
		r := rand.New(bytes)
		b := make([]byte, 100_000)
		for left := size; left > 0; {
			piece := b[:min(left, 1+r.IntN(len(b)))]
			bytes.Read(piece)
			sent.Write(piece)
			if _, err := conn.Write(piece); err != nil {
				written <- err
				return
			}
			left -= len(piece)
		}
		written <- nil
	}()
	received := sha256.New()
	n, err := io.CopyN(received, conn, int64(size))
	if err != nil {
		return fmt.Errorf("%d of %d bytes: %w", n, size, err)
	}
	if err := <-written; err != nil {
		return err
	}
	if string(sent.Sum(nil)) != string(received.Sum(nil)) {
		return errors.New("other bytes came back")
	}
	return nil
}

// Streams carry more than their windows both ways, at the same time, through all
// carriers. Nothing is left afterwards.
func TestStreamsCarryMoreThanTheirWindows(t *testing.T) {
	eachCarrier(t, func(t *testing.T, carrier Carrier, http2 bool) {
		relay := newRelay(t, carrier, http2, nil)
		go relay.echo()
		client := relay.dial(t, nil)
		if client.Carrier() != carrier {
			t.Fatal(client.Carrier())
		}
		var streams sync.WaitGroup
		for i := range 3 {
			streams.Go(func() {
				conn, err := client.Open(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(hangTime))
				if err := exchange(conn, 9_000_000/(1+2*i), uint64(i)); err != nil {
					t.Errorf("stream %d: %v", i, err)
				}
			})
		}
		streams.Wait()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "the relay to be empty", func() bool { return relay.Stats() == Stats{} })
	})
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	limit := time.Now().Add(hangTime)
	for !condition() {
		if time.Now().After(limit) {
			t.Fatal("waited for " + what)
		}
		time.Sleep(time.Millisecond)
	}
}
