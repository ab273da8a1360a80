package service

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/proxy"
	"github.com/mtwire/mtwire/webproxy"
)

// writeSite makes a directory with an index.html.
func writeSite(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serial returns the number of the certificate that browsers get.
func (w *webService) serial(t *testing.T) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", w.address, &tls.Config{ServerName: webHost, RootCAs: w.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// plainSite returns what the site answers without TLS, and the error of the connection.
func plainSite(address string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", webHost)
	text, err := io.ReadAll(conn)
	return string(text), err
}

// Every setting of the web site changes while the session of a client goes on, or, if one of
// the new settings is wrong, none does.
func TestReconfigureChangesTheWebSite(t *testing.T) {
	secret := parseSecret(t, "000102030405060708090a0b0c0d0e0f")
	var before Config
	w := runWeb(t, func(c *Config) {
		c.Secrets, c.Probe = []NamedSecret{{"alice", secret}}, false
		before = *c
	})
	client := w.client(t, secret)
	conn := stream(t, client, secret)
	otherAddress, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	next := before
	next.WebSite = writeSite(t, "another site")
	next.WebCert, next.WebKey = writeCertificate(t, t.TempDir(), 2, w.roots)
	next.WebCarrier = webproxy.WebSocketLanes
	next.WebListen = []ListenAddress{{"tcp", otherAddress}}
	next.WebForwardedFrom = []TrustedPeer{{Unix: true}}
	reconfigure := func(c Config) {
		t.Helper()
		if restart, err := w.Reconfigure(c); err != nil || len(restart) > 0 {
			t.Fatalf("%v, %v", restart, err)
		}
	}
	check := func(what string) {
		t.Helper()
		if err := echo(conn, 100_000, t.Context()); err != nil {
			t.Fatalf("%s: the stream: %v", what, err)
		}
		if err := echo(stream(t, client, secret), 64, t.Context()); err != nil {
			t.Errorf("%s: a new stream in the session: %v", what, err)
		}
		if _, body := get(t, w.browser(true), "/"); body != "another site" {
			t.Errorf("%s: visitors see %q", what, body)
		}
		if serial := w.serial(t); serial != 2 {
			t.Errorf("%s: certificate %d", what, serial)
		}
		fresh := w.client(t, secret)
		if err := echo(stream(t, fresh, secret), 64, t.Context()); err != nil || fresh.Carrier() != webproxy.WebSocketLanes {
			t.Errorf("%s: a new session: %v, %v", what, fresh.Carrier(), err)
		}
		if text, err := plainSite(otherAddress); err != nil || !strings.HasSuffix(text, "another site") {
			t.Errorf("%s: the web server in front gets %q, %v", what, text, err)
		}
	}
	if text, err := plainSite(otherAddress); err == nil {
		t.Fatal(text)
	}
	reconfigure(next)
	check("all is new")

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for setting, change := range map[string]func(*Config){
		"web-site":           func(c *Config) { c.WebSite = "/no/such/directory" },
		"web-cert":           func(c *Config) { c.WebCert = "/no/such/file" },
		"web-key":            func(c *Config) { c.WebKey = "" },
		"web-acme-directory": func(c *Config) { c.WebACMEDirectory = "nothing" },
		"web-listen":         func(c *Config) { c.WebListen = append([]ListenAddress{{"tcp", busy.Addr().String()}}, c.WebListen...) },
		"web-forwarded-from": func(c *Config) { c.WebListen = nil },
		"listen":             func(c *Config) { c.Listen = []ListenAddress{{"tcp", busy.Addr().String()}} },
	} {
		wrong := next
		wrong.WebSite, wrong.WebCarrier = before.WebSite, before.WebCarrier
		wrong.WebCert, wrong.WebKey = before.WebCert, before.WebKey
		change(&wrong)
		if _, err := w.Reconfigure(wrong); err == nil || !strings.Contains(err.Error(), setting+": ") {
			t.Errorf("%s: %v", setting, err)
		}
	}
	check("the other settings were wrong")

	link := filepath.Join(t.TempDir(), "current") // a directory that is replaced as a whole
	for _, text := range []string{"the first", "the second"} {
		if runtime.GOOS == "windows" { // which permits it to administrators
			break
		}
		os.Remove(link)
		if err := os.Symlink(writeSite(t, text), link); err != nil {
			t.Fatal(err)
		}
		next.WebSite = link
		reconfigure(next)
		if _, body := get(t, w.browser(true), "/"); body != text {
			t.Errorf("visitors see %q, want %q", body, text)
		}
	}
	reconfigure(before)
	if err := echo(conn, 100_000, t.Context()); err != nil {
		t.Errorf("the stream: %v", err)
	}
	if text, err := plainSite(otherAddress); err == nil {
		t.Errorf("an address that is gone answers: %s", text)
	}
	if _, body := get(t, w.browser(true), "/"); !strings.Contains(body, "It works!") || w.serial(t) != 1 {
		t.Errorf("the settings of before: %s", body)
	}
}

// Another path is another relay: the sessions of the one before end, and its capabilities
// with them. So it is with another host, and without a site, which may come back.
func TestReconfigureMovesTheRelay(t *testing.T) {
	secret := parseSecret(t, "000102030405060708090a0b0c0d0e0f")
	other, err := net.Listen("tcp", "127.0.0.1:0") // the fronting host of other names
	if err != nil {
		t.Fatal(err)
	}
	defer loopback.Serve(other, func(net.Conn) {})()
	var before Config
	w := runWeb(t, func(c *Config) {
		c.Secrets, c.Probe = []NamedSecret{{"alice", secret}}, false
		c.Fronts = []FrontAddress{{Front: proxy.Front{Address: other.Addr().String()}}}
		before = *c
	})
	conn := stream(t, w.client(t, secret), secret)
	if err := echo(conn, 64, t.Context()); err != nil {
		t.Fatal(err)
	}
	change := func(c Config) {
		t.Helper()
		if restart, err := w.Reconfigure(c); err != nil || len(restart) > 0 {
			t.Fatalf("%v, %v", restart, err)
		}
	}
	dial := func(host, path string) error {
		link := webproxy.Link{Host: host, Path: path, Secret: secret}
		c, err := webproxy.Dial(t.Context(), link, &webproxy.DialConfig{DialContext: w.dial, TLSClientConfig: &tls.Config{RootCAs: w.roots, InsecureSkipVerify: true}})
		if err != nil {
			return err
		}
		defer c.Close()
		return echo(stream(t, c, secret), 64, t.Context())
	}
	next := before
	next.WebPath = "below"
	change(next)
	if _, err := conn.Receive(t.Context()); err == nil {
		t.Error("the session of the relay that is gone goes on")
	}
	if err := dial(webHost, "below"); err != nil {
		t.Errorf("the new path: %v", err)
	}
	if dial(webHost, "") == nil {
		t.Error("the old path has a relay")
	}

	const otherHost = "www.example.net"
	next.Web, next.WebPath = otherHost, ""
	if _, err := w.Reconfigure(next); err == nil || !strings.Contains(err.Error(), "web-cert: ") {
		t.Errorf("a certificate for another host: %v", err)
	}
	directory, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	next.WebCert, next.WebKey = "", ""
	next.WebACMEDirectory = "https://" + directory.Addr().String() + "/directory"
	change(next)
	if links, _ := w.Links(t.Context()); links[1].Web.Host != otherHost {
		t.Errorf("the link is %v", links[1].Web.Redacted())
	}
	if conn, err := tls.Dial("tcp", w.address, &tls.Config{ServerName: webHost, InsecureSkipVerify: true}); err == nil {
		conn.Close()
		t.Error("the old host is served")
	}
	request, err := directory.Accept() // for a certificate
	if err != nil {
		t.Fatal(err)
	}
	defer request.Close()

	next = before
	next.Web, next.WebCert, next.WebKey = "", "", ""
	change(next)
	if links, _ := w.Links(t.Context()); len(links) != 1 {
		t.Errorf("%d links without a web site", len(links))
	}
	change(before)
	if err := dial(webHost, ""); err != nil {
		t.Errorf("the site is back: %v", err)
	}
	if status, body := get(t, w.browser(false), "/"); status != 200 || !strings.Contains(body, "It works!") {
		t.Errorf("%d %s", status, body)
	}
	w.connect(t)
}
