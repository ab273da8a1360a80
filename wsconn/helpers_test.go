//go:build !js

package wsconn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// tcpPair returns the two ends of a loopback connection.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	a, b, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// dialed returns a DialContext function that returns c.
func dialed(c net.Conn) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) { return c, nil }
}

type accepted struct {
	conn *Conn
	err  error
}

func serveAsync(ctx context.Context, conn net.Conn, config *ServerConfig) <-chan accepted {
	ch := make(chan accepted, 1)
	go func() {
		c, err := Server(ctx, conn, config)
		ch <- accepted{c, err}
	}()
	return ch
}

// upgradedPair returns a client and a server of this package on the given ends.
func upgradedPair(t testing.TB, a, b net.Conn, timeout time.Duration) (client, server *Conn) {
	t.Helper()
	return upgradedWith(t, a, b, &DialConfig{CloseTimeout: timeout}, &ServerConfig{CloseTimeout: timeout})
}

// upgradedWith is upgradedPair with configs, of which it sets DialContext.
func upgradedWith(t testing.TB, a, b net.Conn, dial *DialConfig, serve *ServerConfig) (client, server *Conn) {
	t.Helper()
	ctx := t.Context()
	ch := serveAsync(ctx, b, serve)
	dial.DialContext = dialed(a)
	client, err := Dial(ctx, "ws://dc.example/apiws", dial)
	if err != nil {
		t.Fatal(err)
	}
	s := <-ch
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() {
		a.Close() // otherwise Close waits for the peer's close frame
		b.Close()
		client.Close()
		s.conn.Close()
	})
	return client, s.conn
}

func pair(t testing.TB) (client, server *Conn) {
	t.Helper()
	a, b := tcpPair(t)
	return upgradedPair(t, a, b, 100*time.Millisecond)
}

func eachSide(t *testing.T, test func(t *testing.T, from, to *Conn)) {
	t.Run("ClientToServer", func(t *testing.T) {
		c, s := pair(t)
		test(t, c, s)
	})
	t.Run("ServerToClient", func(t *testing.T) {
		c, s := pair(t)
		test(t, s, c)
	})
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &e) && e.Timeout()
}

// countingConn records writes.
type countingConn struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes = append(c.writes, append([]byte(nil), p...))
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *countingConn) reset() {
	c.mu.Lock()
	c.writes = nil
	c.mu.Unlock()
}

func (c *countingConn) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.writes)
}

// replay is a connection whose reads come from r.
type replay struct {
	net.Conn
	r io.Reader
}

func (c *replay) Read(p []byte) (int, error) { return c.r.Read(p) }

// certificate returns a self-signed certificate for name, and a pool with it.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
