package webproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// telethon-webproxy moves more than the windows both ways through our relay, with the
// three carriers that it has.
func TestTelethonMovesStreamsThroughOurRelay(t *testing.T) {
	const secret = "dd000102030405060708090a0b0c0d0e0f"
	for carrier, size := range map[webproxy.Carrier]int{webproxy.HTTPS: 6_000_000, webproxy.WebSocket: 6_000_000, webproxy.WebSocketLanes: 6_000_000} {
		t.Run(carrier.String(), func(t *testing.T) {
			parsed, err := mtproxy.ParseSecret(secret)
			if err != nil {
				t.Fatal(err)
			}
			server, err := webproxy.NewServer(webproxy.ServerConfig{
				Host: "proxy.example.com", Users: []webproxy.User{{Name: "u", Secret: parsed, Carrier: carrier}},
				Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			go echo(server)
			config, roots := certificate(t, "proxy.example.com")
			web := httptest.NewUnstartedServer(server)
			web.EnableHTTP2 = true
			web.TLS = config
			web.StartTLS()
			defer web.Close()
			_, port, _ := strings.Cut(web.Listener.Addr().String(), ":")
			cmd := python(t, "echo.py", carrier.String(), secret, port, roots, strconv.Itoa(size))
			cmd.Stdout = t.Output()
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
			server.Close()
			web.CloseClientConnections()
			if stats := server.Stats(); stats.Up != 0 || stats.Down != 0 {
				t.Errorf("left: %+v", stats)
			}
		})
	}
}

// echo serves each stream by sending back what it receives.
func echo(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
		}()
	}
}

// certificate returns a server's configuration with a self-signed certificate for a
// name, and the file that it is in.
func certificate(t *testing.T, name string) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "certificate.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}
