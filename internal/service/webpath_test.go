package service

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// Below a base path, a printed link leads mtwire.Dial through the relay with every carrier;
// the rest of the host, and the path to those without a capability of it, are the site's.
func TestTheRelayMayHaveABasePath(t *testing.T) {
	secret := parseSecret(t, "dd000102030405060708090a0b0c0d0e0f")
	for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes, webproxy.WebSocket, webproxy.WebSocketLanes} {
		t.Run(carrier.String(), func(t *testing.T) {
			t.Parallel()
			w := runWeb(t, func(c *Config) {
				c.Secrets, c.Probe, c.WebCarrier = []NamedSecret{{"alice", secret}}, false, carrier
				if err := c.WebPath.UnmarshalText([]byte("/Two/segments/")); err != nil {
					t.Fatal(err)
				}
			})
			links, _ := w.Links(t.Context())
			link := links[1].String()
			if want := "tg://webproxy?server=proxy.example.com%2FTwo%2Fsegments&secret=cN0AAQIDBAUGBwgJCgsMDQ4P"; link != want {
				t.Fatalf("%s, want %s", link, want)
			}
			conn, err := mtwire.Dial(t.Context(), link, &mtwire.DialConfig{DialContext: w.dial, TLS: &tls.Config{RootCAs: w.roots}, WEBIdleTimeout: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := echo(conn, 100_000, t.Context()); err != nil {
				t.Error(err)
			}
			visitor := w.browser(true)
			root := "?bridge=" + webproxy.DeriveCapability(secret, webHost, "").String()
			below := "?bridge=" + webproxy.DeriveCapability(secret, webHost, "Two/segments").String()
			for path, want := range map[string]int{
				"/": 200, "/" + root: 200, "/" + below: 200, "/Two/segments": 404, "/Two/segments" + below: 404,
				"/Two/segments/": 404, "/Two/segments/" + root: 404, "/Two/segments/api/v1/session": 404, "/api/v1/session": 404,
				"/two/segments/" + below: 404,
			} {
				if status, body := get(t, visitor, path); status != want || strings.Contains(body, "bootstrap") {
					t.Errorf("%s: %d", strings.Split(path, "?")[0], status)
				}
			}
			if status, body := get(t, visitor, "/Two/segments/"+below); status != 200 || !strings.Contains(body, "bootstrap") {
				t.Errorf("the page: %d", status)
			}
		})
	}
}

// A path that apps do not accept is an error.
func TestABasePathIsChecked(t *testing.T) {
	for text, ok := range map[string]bool{"": true, "/": true, "a": true, "/a/B-c_d/": true, "a//b": false, "//a": false, "-a": false, "a.b": false, strings.Repeat("a", 129): false} {
		var p WebPath
		if err := p.UnmarshalText([]byte(text)); (err == nil) != ok || ok && (webproxy.Link{Host: webHost, Path: string(p), Secret: mtproxy.Secret{Mode: mtproxy.Plain}}).Check() != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
