package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

const webTestHost = "proxy.example.com"

// certificateFiles writes a certificate for webTestHost and its key.
func certificateFiles(t *testing.T) (cert, key string) {
	t.Helper()
	config, _, err := loopback.Certificate(webTestHost)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(config.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", config.Certificates[0].Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}

// During an upgrade a WEB session that moves bytes goes on in the old process, and opens new
// streams there; an idle one ends, and its client connects to the new process, as new clients
// do. No stream loses bytes before its session ends. The old process ends with its last
// session, long before the drain.
func TestUpgradeDrainsWEBSessions(t *testing.T) {
	t.Parallel()
	cert, key := certificateFiles(t)
	for _, carrier := range []string{"https", "https-lanes", "websocket", "websocket-lanes"} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			u := startUpgraded(t, patientFor(5*time.Second), "--web", webTestHost, "--web-cert", cert, "--web-key", key, "--web-carrier", carrier, "--probe=false")
			// Connections with one config share a session.
			config := func() *mtwire.DialConfig {
				return &mtwire.DialConfig{
					TLS: &tls.Config{InsecureSkipVerify: true}, WEBIdleTimeout: -1,
					DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
						return new(net.Dialer).DialContext(ctx, network, u.address)
					},
				}
			}
			dial := func(config *mtwire.DialConfig) *mtwire.Conn {
				t.Helper()
				// The key of the proxy's ee secret.
				conn, err := mtwire.Dial(t.Context(), "tg://webproxy?server="+webTestHost+"&secret=dd"+mtwiretest.FakeTLSSecret[2:34], config)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				if err := echoOnce(conn, 64); err != nil {
					t.Fatal(err)
				}
				return conn
			}
			busySession, idleSession := config(), config()
			busy, idle := dial(busySession), dial(idleSession)
			quit, moved := make(chan struct{}), make(chan error, 1)
			go func() {
				for {
					select {
					case <-quit:
						moved <- nil
						return
					default:
					}
					if err := echoOnce(busy, 100_000); err != nil {
						moved <- err
						return
					}
				}
			}()
			old := u.current
			if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a takeover", func() bool { return len(u.takeovers(t)) == 1 })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := idle.Receive(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("the idle session goes on in the old process: %v", err)
			}
			again, fresh := dial(idleSession), dial(config())
			left := []*mtwire.Conn{busy}
			if carrier != "websocket-lanes" { // whose streams are connections, which the new process gets
				left = append(left, dial(busySession))
			}
			select {
			case err := <-moved:
				t.Fatalf("the stream that moves bytes: %v", err)
			default:
			}
			if ended(old) {
				t.Error("the old process has ended before its session")
			}
			close(quit)
			if err := <-moved; err != nil {
				t.Errorf("the stream that moves bytes: %v", err)
			}
			eventually(t, "the end of the old process", func() bool { return ended(old) })
			for _, conn := range left {
				if _, err := conn.Receive(ctx); err == nil || ctx.Err() != nil {
					t.Errorf("a stream of the old process: %v", err)
				}
			}
			for _, conn := range []*mtwire.Conn{again, fresh, dial(busySession)} {
				if err := echoOnce(conn, 100_000); err != nil {
					t.Errorf("a stream of the new process: %v", err)
				}
			}
		})
	}
}
