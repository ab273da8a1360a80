// Package sites tests the configurations of web sites that docs/proxy.md shows, behind
// mtwire proxy, with the web servers that are installed. ./install installs them.
package sites

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/interop/output"
	"github.com/mtwire/mtwire/mtwiretest"
)

// site is a configuration that docs/proxy.md shows. Its comment has the flag of the
// proxy.
type site struct {
	config  string
	server  string // the program
	start   func(t *testing.T, s *testbed)
	private bool                      // the site does not see the visitor's address
	tooOld  func(version string) bool // of the program; nil: none is
}

var sites = []site{
	{config: "nginx.conf", server: "nginx", start: startNginx},
	{config: "nginx-unix.conf", server: "nginx", start: startNginx},
	{config: "nginx-port.conf", server: "nginx", start: startNginx},
	{config: "apache.conf", server: "apache2", start: startApache},
	{config: "Caddyfile", server: "caddy", start: startCaddy, tooOld: isCaddy26},
	{config: "Caddyfile-2.6", server: "caddy", start: startCaddy, private: true},
}

// isCaddy26 reports whether a version of Caddy is before 2.7.
func isCaddy26(version string) bool {
	return regexp.MustCompile(`^v?2\.[0-6]\b`).MatchString(version)
}

// The configurations of sites that docs/proxy.md shows work behind the proxy, with
// the servers that are installed: the site is measured, sees the visitor's address,
// and names no other port than the proxy's; and a client with a secret is served.
func TestDocumentedSitesWorkBehindTheProxy(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "mtwire")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", binary, "./cmd/mtwire").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, s := range sites {
		t.Run(s.config, func(t *testing.T) {
			if _, err := exec.LookPath(s.server); err != nil {
				t.Skipf("%s is not installed", s.server)
			}
			if s.tooOld != nil {
				if version, err := exec.Command(s.server, "version").Output(); err != nil || s.tooOld(string(version)) {
					t.Skipf("%s %s is too old, %v", s.server, bytes.TrimSpace(version), err)
				}
			}
			tb := newTestbed(t, s)
			s.start(t, tb)
			tb.startProxy(t, binary)
			tb.checkSite(t)
			tb.checkClient(t)
		})
	}
}

// testbed is a site with its files, and a proxy on the same port.
type testbed struct {
	site
	dir    string // of all files
	port   string
	front  string // the flag's value
	config string // the file with the configuration
	log    output.Buffer
}

const domain = "www.example.org"

// testTimeout bounds each step of a test.
const testTimeout = time.Minute

// newTestbed writes the site's files, and its configuration with the paths and the
// port of the test.
func newTestbed(t *testing.T, s site) *testbed {
	t.Helper()
	tb := &testbed{site: s, dir: t.TempDir()}
	if err := os.Chmod(filepath.Dir(tb.dir), 0o755); err != nil { // for servers that change their user
		t.Fatal(err)
	}
	tb.port = freePort(t) // on other loopback addresses as well, most likely
	certificate, key := certificateFiles(t)
	tb.write(t, "www/index.html", "the site\n")
	tb.write(t, "www/dir/index.html", "a directory\n")
	for _, name := range []string{"fullchain.pem", "privkey.pem"} {
		tb.write(t, name, map[string]string{"fullchain.pem": certificate, "privkey.pem": key}[name])
	}
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	flag := regexp.MustCompile(`--front (\S+)`).FindStringSubmatch(string(text))
	if flag == nil {
		t.Fatalf("%s has no flag of the proxy", s.config)
	}
	replace := strings.NewReplacer(
		"127.0.0.2:443", "127.0.0.2:"+tb.port,
		"127.0.0.1:4443", "127.0.0.1:"+freePort(t),
		"/run/site.sock", filepath.Join(tb.dir, "site.sock"),
		"/var/www/"+domain, filepath.Join(tb.dir, "www"),
		"/etc/letsencrypt/live/"+domain, tb.dir,
	).Replace
	tb.front, tb.config = replace(flag[1]), filepath.Join(tb.dir, s.config)
	tb.write(t, s.config, replace(string(text)))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output:\n%s", tb.log.String())
		}
	})
	return tb
}

// freePort returns a port of loopback that is not in use.
func freePort(t *testing.T) string {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	return port
}

// write writes a file below dir.
func (tb *testbed) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(tb.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// certificateFiles returns a certificate for the domain and its key, in PEM.
func certificateFiles(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{domain}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// run runs a program until the test ends.
func (tb *testbed) run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = tb.dir, &tb.log, &tb.log
	cmd.Env = append(os.Environ(), "HOME="+tb.dir, "XDG_DATA_HOME="+tb.dir, "XDG_CONFIG_HOME="+tb.dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		killing := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer killing.Stop()
		cmd.Wait()
	})
}

func startNginx(t *testing.T, tb *testbed) {
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	var paths strings.Builder
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s/%s;\n", what, tb.dir, what)
	}
	tb.write(t, "main.conf", fmt.Sprintf(`
		daemon off; pid %[1]s/pid; error_log stderr; %[2]s
		events {}
		http { access_log /dev/stderr; %[3]s include %[4]s; }
	`, tb.dir, user, &paths, tb.config))
	tb.run(t, "nginx", "-e", "stderr", "-p", tb.dir, "-c", "main.conf")
}

func startApache(t *testing.T, tb *testbed) {
	user := ""
	if os.Getuid() == 0 {
		user = "User www-data\nGroup www-data"
	}
	var modules strings.Builder
	for _, name := range []string{"mpm_event", "authz_core", "dir", "mime", "socache_shmcb", "ssl", "http2", "remoteip"} {
		fmt.Fprintf(&modules, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", name, name)
	}
	tb.write(t, "main.conf", fmt.Sprintf(`
%[3]s
%[2]s
ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/pid
TypesConfig /dev/null
ErrorLog /dev/stderr
CustomLog /dev/stderr "%%a %%r"
DirectoryIndex index.html
Include %[4]s
`, tb.dir, user, &modules, tb.config))
	tb.run(t, "apache2", "-f", filepath.Join(tb.dir, "main.conf"), "-DFOREGROUND")
}

func startCaddy(t *testing.T, tb *testbed) {
	text, err := os.ReadFile(tb.config)
	if err != nil {
		t.Fatal(err)
	}
	// The port and the certificate of the test.
	changed := strings.Replace(string(text), "\n{\n", "\n{\nadmin off\nhttp_port "+freePort(t)+"\nhttps_port "+tb.port+"\n", 1)
	changed = strings.Replace(changed, "\troot ", "\ttls "+tb.dir+"/fullchain.pem "+tb.dir+"/privkey.pem\n\troot ", 1)
	tb.write(t, tb.site.config, changed)
	tb.run(t, "caddy", "run", "--adapter", "caddyfile", "--config", tb.config)
}

const secret = "ee000102030405060708090a0b0c0d0e0f7777772e6578616d706c652e6f7267" // of domain

// startProxy starts the proxy with a loopback data centre, and waits until it has
// measured the site.
func (tb *testbed) startProxy(t *testing.T, binary string) {
	t.Helper()
	tb.eventually(t, "the site listens", func() bool {
		_, address, _ := strings.Cut(tb.front, "=")
		address, _, _ = strings.Cut(address, "?")
		network := "tcp"
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			network, address = "unix", path
		}
		conn, err := net.Dial(network, address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	dc := &mtwiretest.DataCenter{Listener: ln}
	go dc.Serve(t.Context())
	tb.run(t, binary, "proxy", "--listen", "127.0.0.1:"+tb.port, "--secret", secret, "--front", tb.front, "--dc", "*="+ln.Addr().String())
	tb.eventually(t, "the proxy has measured the site", func() bool { return strings.Contains(tb.log.String(), "fronting host measured") })
}

func (tb *testbed) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

const (
	visitor   = "127.0.0.5" // the visitor's address
	proxyAddr = "127.0.0.1"
)

// dial connects to the proxy from the visitor's address.
func (tb *testbed) dial(t *testing.T) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(visitor)}}
	conn, err := dialer.Dial("tcp", net.JoinHostPort(proxyAddr, tb.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testTimeout))
	return conn
}

// checkSite visits the site through the proxy.
func (tb *testbed) checkSite(t *testing.T) {
	host := net.JoinHostPort(domain, tb.port)
	conn := tls.Client(tb.dial(t), &tls.Config{ServerName: domain, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	request := &http.Request{Method: "GET", URL: &url.URL{Scheme: "https", Host: host, Path: "/dir"}, Host: host, Header: http.Header{}}
	if err := request.Write(conn); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, answer.Body)
	want := request.URL.String() + "/"
	if strings.Contains(tb.front, "unix:") {
		want = "https://" + domain + "/dir/" // there is no port, so the default is named
	}
	if location, err := answer.Location(); answer.StatusCode/100 != 3 || err != nil || location.String() != want {
		t.Errorf("%s, redirect to %v, %v, want %s", answer.Status, location, err, want)
	}
	if got := answer.Header.Get("Alt-Svc"); got != "" {
		t.Errorf("alt-svc %q", got)
	}
	from := visitor
	if tb.private {
		from = proxyAddr
	}
	tb.eventually(t, "the site's log has the visitor's address", func() bool {
		for line := range strings.Lines(tb.log.String()) {
			if strings.Contains(line, "/dir") && strings.Contains(line, from) {
				return true
			}
		}
		return false
	})

	// What is no TLS has the site's answer as well.
	plain := tb.dial(t)
	io.WriteString(plain, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	if answer, err := http.ReadResponse(bufio.NewReader(plain), nil); err != nil || answer.StatusCode != http.StatusBadRequest {
		t.Errorf("HTTP without TLS: %+v, %v", answer, err)
	}
}

// checkClient performs the first step of a key exchange with the secret.
func (tb *testbed) checkClient(t *testing.T) {
	conn, err := mtwire.Dial(t.Context(), "tcp://"+net.JoinHostPort(proxyAddr, tb.port)+"?secret="+secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var nonce [16]byte
	if err := conn.Send(t.Context(), mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		t.Fatal(err)
	}
	p, err := conn.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := mtwiretest.CheckResPQ(p.Payload, nonce); err != nil {
		t.Error(err)
	}
}

// docs/proxy.md shows each configuration as it is tested.
func TestDocumentationShowsTheTestedSites(t *testing.T) {
	page, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		text, err := os.ReadFile(s.config)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "\n"+string(text)+"```\n") {
			t.Errorf("docs/proxy.md does not show interop/sites/%s", s.config)
		}
	}
}
