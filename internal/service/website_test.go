package service

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/webproxy"
)

const webHost = "proxy.example.com"

// writeCertificate writes a new certificate for webHost and its key, and adds it to the
// roots.
func writeCertificate(t *testing.T, dir string, serial int64, roots *x509.CertPool) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{webHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	roots.AddCert(leaf)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(path, kind string, b []byte) {
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(key, "PRIVATE KEY", keyDER)
	write(cert, "CERTIFICATE", der)
	return cert, key
}

// webService is a service with a web site, and what its clients need.
type webService struct {
	*running
	roots   *x509.CertPool
	address string
}

// runWeb runs a service with a web site.
func runWeb(t *testing.T, change func(*Config)) *webService {
	w := &webService{roots: x509.NewCertPool()}
	cert, key := writeCertificate(t, t.TempDir(), 1, w.roots)
	w.running = run(t, func(c *Config) {
		c.Web, c.WebCert, c.WebKey = webHost, cert, key
		if change != nil {
			change(c)
		}
	})
	w.address = w.Addresses()[0].String()
	return w
}

func (w *webService) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", w.address)
}

// client returns a client of the relay with a secret.
func (w *webService) client(t *testing.T, secret mtproxy.Secret) *webproxy.Client {
	t.Helper()
	c, err := webproxy.Dial(t.Context(), webproxy.Link{Host: webHost, Secret: secret}, &webproxy.DialConfig{
		DialContext: w.dial, TLSClientConfig: &tls.Config{RootCAs: w.roots},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// stream returns the connection of a client in a stream of a session. inner is the secret
// inside.
func stream(t *testing.T, c *webproxy.Client, inner mtproxy.Secret) *mtwire.Conn {
	t.Helper()
	protocol := frame.Abridged
	if inner.Mode == mtproxy.Padded {
		protocol = frame.PaddedIntermediate
	}
	s, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := mtwire.Client(t.Context(), s, mtwire.Endpoint{Secret: inner, DC: 2, Protocol: protocol}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echo sends a message to the data centre, which sends it back.
func echo(conn *mtwire.Conn, size int, ctx context.Context) error {
	message, _ := mtwiretest.Seal(bytes.Repeat([]byte("8 bytes."), size/8), frame.Client)
	if err := conn.Send(ctx, message); err != nil {
		return err
	}
	_, err := conn.Receive(ctx)
	return err
}

// browser returns an HTTP client of visitors.
func (w *webService) browser(http2 bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: w.dial, TLSClientConfig: &tls.Config{RootCAs: w.roots}, ForceAttemptHTTP2: http2, DisableKeepAlives: true,
	}}
}

func get(t *testing.T, c *http.Client, path string) (status int, body string) {
	t.Helper()
	answer, err := c.Get("https://" + webHost + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

func parseSecret(t *testing.T, text string) mtproxy.Secret {
	t.Helper()
	secret, err := mtproxy.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// One port serves classic clients, WEB clients of every kind of secret, in mode web with
// their user, and visitors, over HTTP/1.1 and HTTP/2.
func TestOnePortServesTheProxyAndTheWebSite(t *testing.T) {
	users := []NamedSecret{
		{Name: "plain", Secret: parseSecret(t, "000102030405060708090a0b0c0d0e0f")},
		{Name: "padded", Secret: parseSecret(t, "dd100102030405060708090a0b0c0d0e0f")},
		{Name: "faketls", Secret: parseSecret(t, "ee200102030405060708090a0b0c0d0e0f"+"7777772e6578616d706c652e6f7267")},
	}
	w := runWeb(t, func(c *Config) {
		c.Secrets, c.Probe = users, false
		c.Fronts = []FrontAddress{{Domain: "www.example.org"}}
		c.Fronts[0].Front.Address = "127.0.0.1:9"
	})
	w.connect(t) // the first link, classic
	for _, u := range users {
		for _, mode := range []mtproxy.Mode{mtproxy.Plain, mtproxy.Padded} {
			if mode == mtproxy.Plain && u.Secret.Mode != mtproxy.Plain {
				continue
			}
			secret := mtproxy.Secret{Mode: mode, Key: u.Secret.Key}
			conn := stream(t, w.client(t, secret), secret)
			if err := echo(conn, 100_000, t.Context()); err != nil {
				t.Fatalf("%s, %v: %v", u.Name, mode, err)
			}
			found := false
			for s := range w.proxy.Sessions() {
				r := s.Report()
				found = found || r.User != nil && r.User.Name == u.Name && r.Mode == mtproxy.Web && r.DC == 2
			}
			if !found {
				t.Errorf("%s, %v: no session in mode web", u.Name, mode)
			}
		}
	}
	for _, u := range users {
		for _, mode := range []mtproxy.Mode{mtproxy.Plain, mtproxy.Padded} {
			capability := webproxy.DeriveCapability(mtproxy.Secret{Mode: mode, Key: u.Secret.Key}, webHost, "").String()
			get(t, w.browser(true), "/wrong?bridge="+capability)
			if strings.Contains(w.log.String(), capability) {
				t.Errorf("the log has the capability of %s", u.Name)
			}
		}
	}
	for _, http2 := range []bool{false, true} {
		if status, body := get(t, w.browser(http2), "/"); status != 200 || !strings.Contains(body, "It works!") {
			t.Errorf("HTTP/2 %v: %d %s", http2, status, body)
		}
		if status, _ := get(t, w.browser(http2), "/api/v1/session"); status != 404 {
			t.Errorf("HTTP/2 %v: %d", http2, status)
		}
	}
}

// The secret inside a stream must be the capability's user's, and padded if the
// capability is.
func TestAStreamHasItsUsersSecret(t *testing.T) {
	alice, bob := parseSecret(t, "000102030405060708090a0b0c0d0e0f"), parseSecret(t, "100102030405060708090a0b0c0d0e0f")
	w := runWeb(t, func(c *Config) { c.Secrets = []NamedSecret{{"alice", alice}, {"bob", bob}} })
	padded := mtproxy.Secret{Mode: mtproxy.Padded, Key: alice.Key}
	c, p := w.client(t, alice), w.client(t, padded)
	for _, test := range []struct {
		name   string
		client *webproxy.Client
		inner  mtproxy.Secret
		ok     bool
	}{
		{"of another user", c, bob, false},
		{"plain in a padded session", p, alice, false},
		{"padded in a plain session", c, padded, true},
		{"its own", c, alice, true},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := echo(stream(t, test.client, test.inner), 64, ctx); (err == nil) != test.ok || ctx.Err() != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		cancel()
	}
}

// A user that is removed loses its streams and its capability, a renewed certificate is
// served, and the rest goes on.
func TestUsersAndCertificateOfTheWebSiteChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secrets")
	alice, bob := "alice=000102030405060708090a0b0c0d0e0f\n", "bob=100102030405060708090a0b0c0d0e0f\n"
	if err := os.WriteFile(path, []byte(alice+bob), 0o600); err != nil {
		t.Fatal(err)
	}
	var certificate string
	w := runWeb(t, func(c *Config) { c.Secrets, c.SecretsFile, certificate = nil, path, c.WebCert })
	secrets := []mtproxy.Secret{parseSecret(t, alice[6:38]), parseSecret(t, bob[4:36])}
	var conns []*mtwire.Conn
	for _, secret := range secrets {
		conns = append(conns, stream(t, w.client(t, secret), secret))
		if err := echo(conns[len(conns)-1], 64, t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte(alice), 0o600); err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, filepath.Dir(certificate), 2, w.roots)
	if _, err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := echo(conns[0], 64, t.Context()); err != nil {
		t.Errorf("the user that stays: %v", err)
	}
	if _, err := conns[1].Receive(t.Context()); err == nil {
		t.Error("the user that is gone still has its stream")
	}
	if _, body := get(t, w.browser(true), "/?bridge="+webproxy.DeriveCapability(secrets[1], webHost, "").String()); !strings.Contains(body, "It works!") {
		t.Errorf("the capability of the user that is gone: %s", body)
	}
	conn, err := tls.Dial("tcp", w.address, &tls.Config{ServerName: webHost, RootCAs: w.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if serial := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); serial != 2 {
		t.Errorf("certificate %d", serial)
	}
}

// A shutdown closes the streams as other sessions, and then what carries them.
func TestAServiceWithAWebSiteDrains(t *testing.T) {
	secret := parseSecret(t, "000102030405060708090a0b0c0d0e0f")
	w := runWeb(t, func(c *Config) { c.Secrets = []NamedSecret{{"alice", secret}} })
	conn := stream(t, w.client(t, secret), secret)
	if err := echo(conn, 64, t.Context()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	w.cancel()
	if err := w.result(t); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	if log := w.log.String(); !strings.Contains(log, "mode=web") || strings.Contains(log, "before all connections had ended") {
		t.Error(log)
	}
}

// The site is the fronting host of its name, and of everything that names no other: FakeTLS
// clients of it are served, and the proxy does not connect to itself.
func TestTheWebSiteIsAFrontingHost(t *testing.T) {
	secret := parseSecret(t, "ee000102030405060708090a0b0c0d0e0f70726f78792e6578616d706c652e636f6d") // of webHost
	w := runWeb(t, func(c *Config) { c.Secrets = []NamedSecret{{"alice", secret}} })
	for end := time.Now().Add(20 * time.Second); !strings.Contains(w.log.String(), "fronting host measured"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(w.log.String())
		}
	}
	w.connect(t) // by FakeTLS
	for _, name := range []string{"", "www.example.org"} {
		conn, err := tls.Dial("tcp", w.address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().PeerCertificates[0].DNSNames; len(got) != 1 || got[0] != webHost {
			t.Errorf("the certificate for %q is of %v", name, got)
		}
		conn.Close()
	}
	silent, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for end := time.Now().Add(20 * time.Second); w.proxy.Stats().Fronted == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the site is not connected for a silent client")
		}
	}
	if n := w.proxy.Stats().Accepted; n > 20 {
		t.Errorf("%d connections: the proxy connects to itself", n)
	}
}

// Without a domain, generated secrets and those that need one have the web site's.
func TestTheWebSiteIsTheDefaultDomain(t *testing.T) {
	c := testConfig(t)
	if got := c.defaultDomain(); got != DefaultDomain {
		t.Error(got)
	}
	c.Web = webHost
	if secret, err := NewSecret(c); err != nil || secret.Domain != webHost {
		t.Errorf("%v, %v", secret.Redacted(), err)
	}
	c.WebListen = []ListenAddress{{"tcp", "127.0.0.1:8081"}}
	if got := c.defaultDomain(); got != DefaultDomain {
		t.Error(got)
	}
}
