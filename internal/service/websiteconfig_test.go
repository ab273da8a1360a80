package service

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/webproxy"
)

// What is wrong with the settings of the web site is an error of --check, which names the
// setting.
func TestTheWebSitesSettingsAreChecked(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	cert, key := writeCertificate(t, dir, 1, x509.NewCertPool())
	_, otherKey := writeCertificate(t, other, 2, x509.NewCertPool())
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"":                    func(c *Config) {},
		"web-key: the key of": func(c *Config) { c.WebKey = "" },
		"web-cert: the certificate of the key is missing": func(c *Config) { c.WebCert = "" },
		"web-cert: tls: private key does not match":       func(c *Config) { c.WebKey = otherKey },
		"web-cert: open /no/such/file":                    func(c *Config) { c.WebCert = "/no/such/file" },
		"is for [proxy.example.com], and not for":         func(c *Config) { c.Web = "other.example.com" },
		"web-site: stat":  func(c *Config) { c.WebSite = "/no/such/directory" },
		"is no directory": func(c *Config) { c.WebSite = file },
		"web-site: a site over https is not supported": func(c *Config) { c.WebSite = "https://127.0.0.1" },
		"web-acme-directory: want the URL":             func(c *Config) { c.WebACMEDirectory = "example.com" },
		"web-acme-email: want an address":              func(c *Config) { c.WebACMEEmail = "admin" },
		"web-forwarded-from: there is no web-listen":   func(c *Config) { c.WebForwardedFrom = []TrustedPeer{{Unix: true}} },
		"web-cert: there is no web site":               func(c *Config) { c.Web = "" },
		"web-carrier: there is no web site":            func(c *Config) { c.Web, c.WebCert, c.WebKey, c.WebCarrier = "", "", "", webproxy.WebSocket },
		"web-site: it leads to web-listen": func(c *Config) {
			c.WebListen, c.WebSite = []ListenAddress{{"tcp", ":8081"}}, "http://127.0.0.1:8081"
		},
	} {
		c := testConfig(t)
		c.State = t.TempDir()
		c.Web, c.WebCert, c.WebKey = webHost, cert, key
		change(&c)
		var text []string
		for _, err := range Check(c, discard) {
			text = append(text, err.Error())
		}
		if got := strings.Join(text, "; "); got == "" != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for text, ok := range map[string]bool{
		"proxy.example.com": true, "https://Proxy.Example.com/": true, "127.0.0.1": false, "localhost": false,
		"a.example.com:443": false, "example.com.": false, "0x7f.1": false, "bücher.example": false, "": false,
	} {
		var h WebHost
		if err := h.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
