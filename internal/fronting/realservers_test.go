package fronting

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/loopback"
)

// The tests in this file run servers that are installed, and otherwise only crypto/tls,
// which has their properties as far as it can.

// pemFiles writes a certificate into files.
func pemFiles(t *testing.T, certificate tls.Certificate) (dir string) {
	t.Helper()
	dir = t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})))
	write(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddress returns an address on loopback that is not in use.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// startServer runs a server until the test ends, and waits until it accepts
// connections. It returns false if it is not installed.
func startServer(t *testing.T, dir, address, name string, args ...string) bool {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Logf("%s is not installed", name)
		return false
	}
	var output lockedBuffer
	command := exec.Command(path, args...)
	command.Dir, command.Stdout, command.Stderr = dir, &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	for end := time.Now().Add(testTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return true
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v\n%s", name, err, &output)
		}
	}
}

// startNginx runs nginx with more directives for its server.
func startNginx(t *testing.T, directives string) (address string, ok bool) {
	t.Helper()
	dir, address := pemFiles(t, rsaCertificate(t, 20)), freeAddress(t)
	write(t, dir, "index.html", strings.Repeat("x", 400_000))
	var paths strings.Builder
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s/%s;\n", what, dir, what)
	}
	write(t, dir, "nginx.conf", fmt.Sprintf(`
daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/errors;
events {}
http {
	access_log off;
	%[2]s
	server {
		listen %[3]s ssl http2;
		ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem;
		ssl_protocols TLSv1.2 TLSv1.3;
		root %[1]s;
		%[4]s
	}
}`, dir, paths.String(), address, directives))
	return address, startServer(t, dir, address, "nginx", "-p", dir, "-e", dir+"/errors", "-c", dir+"/nginx.conf")
}

// startOpenSSL runs openssl s_server.
func startOpenSSL(t *testing.T, args ...string) (address string, ok bool) {
	t.Helper()
	dir, address := pemFiles(t, rsaCertificate(t, 20)), freeAddress(t)
	args = append([]string{"s_server", "-accept", address, "-cert", "cert.pem", "-key", "key.pem", "-quiet"}, args...)
	return address, startServer(t, dir, address, "openssl", args...)
}

// An OpenSSL server's flight has four encrypted records, and two tickets of one length
// come after the handshake, with HTTP/2's SETTINGS behind them. nginx's pages come in
// full records, and its patience is client_header_timeout.
func TestNginxIsMeasured(t *testing.T) {
	t.Parallel()
	address, ok := startNginx(t, "client_header_timeout 4s;")
	if !ok {
		return
	}
	p, log := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
	var patience sync.WaitGroup
	patience.Go(func() {
		if err := p.measurePatience(t.Context(), only(p)); err != nil {
			t.Error(err)
		}
	})
	if _, err := p.round(t.Context(), only(p)); err != nil {
		t.Fatal(err)
	}
	if err := p.download(t.Context(), only(p)); err != nil {
		t.Error(err)
	}
	r := p.Records("a.example")
	if len(r.Tickets) != 3 || r.Tickets[0] != r.Tickets[1] || r.Tickets[0] < 200 || r.Tickets[2] > 100 {
		t.Errorf("tickets %d", r.Tickets)
	}
	if r.Max != DefaultMaxRecord || len(r.Ramp) != 0 {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(log.String(), "several encrypted records") || !strings.Contains(log.String(), "records=4") {
		t.Errorf("no warning: %s", log)
	}
	patience.Wait()
	if got := p.Patience("a.example"); got < 3500*time.Millisecond || got > 30*time.Second {
		t.Errorf("patience %v", got)
	}
}

// Hellos of all kinds are answered as by the server. The order of suites decides the
// cipher suite where the server follows the client, and not where it does not.
func TestRealServersAreImitatedForEveryKind(t *testing.T) {
	t.Parallel()
	addresses := make(map[string]string)
	addresses["crypto/tls"], _ = tlsHost(t, &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}})
	for name, directives := range map[string]string{
		"nginx":                          "",
		"nginx with an order of suites":  "ssl_prefer_server_ciphers on; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256;",
		"nginx with P-256 before X25519": "ssl_ecdh_curve prime256v1:X25519;",
		"nginx with session tickets off": "ssl_session_tickets off;",
	} {
		if address, ok := startNginx(t, directives); ok {
			addresses[name] = address
		}
	}
	if address, ok := startOpenSSL(t, "-num_tickets", "0", "-alpn", "h2,http/1.1"); ok {
		addresses["openssl"] = address
	}
	for server, address := range addresses {
		p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
		m, err := p.probe(t.Context(), only(p), false)
		if err != nil {
			t.Fatalf("%s: %v", server, err)
		}
		only(p).setBrowser(m.kind, []answer{m.answer})
		hellos := clientHellos(t)
		if server == "openssl" { // one connection after the other
			maps.DeleteFunc(hellos, func(name string, _ *faketls.ClientHello) bool {
				return name != "tdlib-ee" && name != "without a name" && name != "AES-256 first"
			})
		}
		var measuring sync.WaitGroup
		for _, hello := range hellos {
			p.ServerHello(hello)
			k := only(p).kinds[hello.Kind()]
			measure := func() { p.measureKind(t.Context(), only(p), k) }
			switch {
			case k == only(p).browser:
			case server == "openssl":
				measure()
			default:
				measuring.Go(measure)
			}
		}
		measuring.Wait()
		dial := func() (net.Conn, error) { return net.Dial("tcp", address) }
		for name, hello := range hellos {
			expectLikeness(t, p, dial, server+", "+name, hello)
		}
	}
}

// A server that only has P-384 answers Telegram's clients with a HelloRetryRequest:
// that is found with complete handshakes and with clients' own hellos.
func TestServersWithAnotherGroupAreFound(t *testing.T) {
	t.Parallel()
	addresses := make(map[string]string)
	addresses["crypto/tls"], _ = tlsHost(t, &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}, CurvePreferences: []tls.CurveID{tls.CurveP384}})
	if address, ok := startNginx(t, "ssl_ecdh_curve secp384r1;"); ok {
		addresses["nginx"] = address
	}
	if address, ok := startOpenSSL(t, "-groups", "P-384"); ok {
		addresses["openssl"] = address
	}
	if address, ok := startOpenSSL(t, "-groups", "X448"); ok { // no client can follow
		addresses["openssl with X448"] = address
	}
	for name, address := range addresses {
		p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
		m, err := p.probe(t.Context(), only(p), true)
		if follows := !strings.Contains(name, "X448"); err != nil && follows || err == nil && (!m.retry || !m.tls13) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
		hello, err := clientHellos(t)["tdlib-ee"].Renew("a.example")
		if err != nil {
			t.Fatal(err)
		}
		a, err := p.exchange(t.Context(), only(p), only(p).newProbe(), hello)
		if follows := !strings.Contains(name, "X448"); err != nil && follows || err == nil && a != (answer{tls13: true, retry: true}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// A host that sends several encrypted records is warned of when that is noticed, and
// when their number changes.
func TestSeveralRecordsAreWarnedOf(t *testing.T) {
	p, log := newPool(t, Config{Hosts: []Host{{Domain: "a.example"}}})
	warnings := 0
	for _, c := range []struct {
		records []int
		warns   bool
	}{{[]int{1, 1, 1}, false}, {[]int{4, 4, 4}, true}, {[]int{4, 4, 4}, false}, {[]int{1, 5, 1}, true}, {[]int{1}, false}, {[]int{5}, true}} {
		var answers []answer
		for _, n := range c.records {
			answers = append(answers, answer{tls13: true, records: n})
		}
		p.report(only(p), answers)
		if c.warns {
			warnings++
		}
		if n := strings.Count(log.String(), "level=WARN"); n != warnings {
			t.Errorf("%d: %d warnings, want %d", c.records, n, warnings)
		}
	}
	if text := log.String(); !strings.Contains(text, "rustls") || !strings.Contains(text, "records=5") {
		t.Errorf("the warning does not tell what to change: %s", text)
	}
}
