// Package webfront tests the configurations of web servers in front of a WEB proxy that
// docs/web.md shows, and in front of a relay to which a proxy connects over WebSocket, of
// which docs/proxy.md shows one. It uses the servers that are installed; ./install installs
// them.
package webfront

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/interop/output"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/webproxy"
)

const (
	host      = "proxy.example.org"
	frontHost = "front.example.org"
	visitor   = "127.0.0.5" // the client's address
)

var secret = mtproxy.Secret{Mode: mtproxy.Padded, Key: [16]byte{1, 2, 3}}

// front is a configuration that docs/web.md shows.
type front struct {
	config, program string
	start           func(t *testing.T, b *testbed, config string) *exec.Cmd
}

var fronts = []front{
	{"nginx.conf", "nginx", startNginx},
	{"Caddyfile", "caddy", startCaddy},
	{"haproxy.cfg", "haproxy", startHAProxy},
}

// testbed is a proxy with a web site, for which a server is in front.
type testbed struct {
	dir, port, backend string
	roots              *x509.CertPool
	log                output.Buffer
}

// Clients move streams through each server, with requests and with WebSockets, and have
// their own address; visitors see the site.
func TestDocumentedServersCarryWEBClients(t *testing.T) {
	for _, f := range fronts {
		t.Run(f.config, func(t *testing.T) {
			if _, err := exec.LookPath(f.program); err != nil {
				t.Skipf("%s is not installed", f.program)
			}
			for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.WebSocket} {
				t.Run(carrier.String(), func(t *testing.T) { through(t, f, carrier) })
			}
		})
	}
}

func through(t *testing.T, f front, carrier webproxy.Carrier) {
	b := &testbed{dir: t.TempDir(), port: freePort(t), backend: freePort(t), roots: x509.NewCertPool()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output:\n%s", b.log.String())
		}
	})
	b.writeCertificate(t)
	b.startProxy(t, carrier)
	text, err := os.ReadFile(f.config)
	if err != nil {
		t.Fatal(err)
	}
	b.startFront(t, f, string(text))
	b.checkClient(t)
	b.checkVisitor(t)
}

// startFront starts a server with a configuration, whose ports and files are the test's.
func (b *testbed) startFront(t *testing.T, f front, config string) *exec.Cmd {
	t.Helper()
	cmd := f.start(t, b, strings.NewReplacer(
		"127.0.0.1:8081", "127.0.0.1:"+b.backend, "127.0.0.1:7443", "127.0.0.1:"+b.backend,
		"listen 443", "listen 127.0.0.1:"+b.port, "bind :443", "bind 127.0.0.1:"+b.port,
		"/etc/letsencrypt/live/"+host, b.dir, "/etc/letsencrypt/live/"+frontHost, b.dir, "/etc/haproxy", b.dir,
	).Replace(config))
	b.eventually(t, "the server listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+b.port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return cmd
}

// writeCertificate writes the certificate of the tests and its key, in two files and in one.
func (b *testbed) writeCertificate(t *testing.T) {
	b.roots.AppendCertsFromPEM(certificate)
	b.write(t, "fullchain.pem", string(certificate))
	b.write(t, "privkey.pem", string(key))
	for _, name := range []string{host, frontHost} {
		b.write(t, name+".pem", string(certificate)+string(key))
	}
}

// certificate is for all hosts of the tests, with its key. The process trusts it.
var certificate, key []byte

func TestMain(m *testing.M) {
	if err := makeCertificate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "webfront")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "root.pem"), certificate, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("SSL_CERT_FILE", filepath.Join(dir, "root.pem")) // before the first use
	route.SetAttemptDelays(time.Minute)                        // so that the first upstream is tried alone
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func makeCertificate() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	names := []string{host, frontHost, "*.web.telegram.org"}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return err
}

func (b *testbed) write(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// startProxy starts a proxy with a loopback data centre.
func (b *testbed) startProxy(t *testing.T, carrier webproxy.Carrier) {
	dc := mtwiretest.NewDataCenter(nil)
	t.Cleanup(dc.Close)
	config := service.Default()
	config.Listen = []service.ListenAddress{{Network: "tcp4", Address: "127.0.0.1:0"}}
	config.Secrets = []service.NamedSecret{{Name: "alice", Secret: secret}}
	config.DataCenters = []service.DataCenterAddress{{Address: dc.Addr().String()}}
	config.Probe, config.LogClients, config.State = false, true, filepath.Join(b.dir, "state")
	config.Web, config.WebCarrier = host, carrier
	config.WebListen = []service.ListenAddress{{Network: "tcp4", Address: "127.0.0.1:" + b.backend}}
	var peer service.TrustedPeer
	if err := peer.UnmarshalText([]byte("127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	config.WebForwardedFrom = []service.TrustedPeer{peer}
	s, err := service.New(config, slog.New(slog.NewTextHandler(&b.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { s.Run(t.Context(), t.Context()) })
	t.Cleanup(func() {
		s.Close()
		running.Wait()
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	return port
}

func (b *testbed) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

// run runs a program until the test ends.
func (b *testbed) run(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, &b.log, &b.log
	cmd.Env = append(os.Environ(), "HOME="+b.dir, "XDG_DATA_HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		killing := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer killing.Stop()
		cmd.Wait()
	})
	return cmd
}

func startNginx(t *testing.T, b *testbed, config string) *exec.Cmd {
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	var paths strings.Builder
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s/%s;\n", what, b.dir, what)
	}
	b.write(t, "main.conf", fmt.Sprintf(`
		daemon off; pid %[1]s/pid; error_log stderr; %[2]s
		events {}
		http { %[3]s include %[4]s; }
	`, b.dir, user, &paths, b.write(t, "site.conf", config)))
	return b.run(t, "nginx", "-e", "stderr", "-p", b.dir, "-c", "main.conf")
}

func startCaddy(t *testing.T, b *testbed, config string) *exec.Cmd {
	// The port and the certificate of the test.
	config = strings.Replace(config, "\n{\n", "\n{\nadmin off\nhttp_port "+freePort(t)+"\nhttps_port "+b.port+"\n", 1)
	config = strings.Replace(config, "\treverse_proxy ", "\ttls "+b.dir+"/fullchain.pem "+b.dir+"/privkey.pem\n\treverse_proxy ", 1)
	return b.run(t, "caddy", "run", "--adapter", "caddyfile", "--config", b.write(t, "Caddyfile", config))
}

func startHAProxy(t *testing.T, b *testbed, config string) *exec.Cmd {
	return b.run(t, "haproxy", "-db", "-f", b.write(t, "haproxy.cfg", config))
}

// dial connects to the server from the visitor's address.
func (b *testbed) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(visitor)}}
	return dialer.DialContext(ctx, "tcp", "127.0.0.1:"+b.port)
}

// checkClient moves some megabytes both ways in a stream.
func (b *testbed) checkClient(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := webproxy.Dial(ctx, webproxy.Link{Host: host, Secret: secret}, &webproxy.DialConfig{
		DialContext: b.dial, TLSClientConfig: &tls.Config{RootCAs: b.roots},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	stream, err := client.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := mtwire.Client(ctx, stream, mtwire.Endpoint{Secret: secret, DC: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("16 bytes of text"), 900_000/16)
	for range 4 {
		message, _ := mtwiretest.Seal(text, frame.Client)
		if err := conn.Send(ctx, message); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		packet, err := conn.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := mtwiretest.Open(packet.Payload, frame.Server); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	conn.Close()
	b.eventually(t, "the log has the client's address", func() bool {
		return strings.Contains(b.log.String(), "mode=web") && strings.Contains(b.log.String(), "client="+visitor+":")
	})
}

// checkVisitor gets the site.
func (b *testbed) checkVisitor(t *testing.T) {
	browser := &http.Client{Transport: &http.Transport{
		DialContext: b.dial, TLSClientConfig: &tls.Config{RootCAs: b.roots}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
	answer, err := browser.Get("https://" + host + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(text), "It works!") {
		t.Errorf("%s, %v: %s", answer.Status, err, text)
	}
}

// docs/web.md shows each configuration as it is tested.
func TestDocumentationShowsTheTestedServers(t *testing.T) {
	page, err := os.ReadFile("../../docs/web.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fronts {
		text, err := os.ReadFile(f.config)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "\n"+string(text)+"```\n") {
			t.Errorf("docs/web.md does not show interop/webfront/%s", f.config)
		}
	}
}
