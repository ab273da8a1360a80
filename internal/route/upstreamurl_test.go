package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxydial"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

const webLink = "tg://webproxy?server=web.example&secret="

const link = "tg://proxy?server=proxy.example&port=443&secret="

func proxied(scheme, server, user, password string, weight int) UpstreamURL {
	return UpstreamURL{kind: kindProxy, weight: weight, proxy: proxydial.Proxy{
		Scheme: scheme, Server: server, User: user, Password: password,
	}}
}

func TestUpstreamURLIsParsed(t *testing.T) {
	for text, want := range map[string]UpstreamURL{
		"direct":                            {},
		"Direct?weight=3":                   {weight: 3},
		"socks5://127.0.0.1:1080":           proxied("socks5", "127.0.0.1:1080", "", "", 0),
		"socks5h://me:p%3Aw%40@[::1]:1080/": proxied("socks5", "[::1]:1080", "me", "p:w@", 0),
		"socks5://me@host:1080?weight=1000": proxied("socks5", "host:1080", "me", "", 1000),
		"http://me:pw@proxy:3128?weight=2":  proxied("http", "proxy:3128", "me", "pw", 2),
		"https://proxy:443":                 proxied("https", "proxy:443", "", "", 0),
		link + mtwiretest.PlainSecret:       {kind: kindMTProxy, proxy: proxydial.Proxy{Server: "proxy.example:443"}},
		link + mtwiretest.FakeTLSSecret:     {kind: kindMTProxy, proxy: proxydial.Proxy{Server: "proxy.example:443"}},
		"https://t.me" + link[4:] + mtwiretest.PaddedSecret + "&weight=7#x": {kind: kindMTProxy, proxy: proxydial.Proxy{Server: "proxy.example:443"}, weight: 7},
		"wss":          {kind: kindWebSocket, path: "/apiws"},
		"WSS?weight=3": {kind: kindWebSocket, path: "/apiws", weight: 3},
		"wss?via=socks5://me:p%26w@h:1&weight=2": {kind: kindWebSocket, path: "/apiws", weight: 2,
			proxy: proxydial.Proxy{Scheme: "socks5", Server: "h:1", User: "me", Password: "p&w"}},
		"wss?via=http%3A%2F%2Fh%3A1":              {kind: kindWebSocket, path: "/apiws", proxy: proxydial.Proxy{Scheme: "http", Server: "h:1"}},
		"wss://Kws2.web.telegram.org":             {kind: kindWebSocket, server: "kws2.web.telegram.org:443", path: "/apiws"},
		"wss://[2001:db8::1]:8443/a%20b?weight=1": {kind: kindWebSocket, server: "[2001:db8::1]:8443", path: "/a%20b", weight: 1},
		webLink + mtwiretest.PlainSecret:          {kind: kindWEB, server: "web.example:443"},
		"https://t.me" + webLink[4:] + mtwiretest.PaddedSecret + "&weight=9&via=https://h:1": {kind: kindWEB, server: "web.example:443", weight: 9,
			proxy: proxydial.Proxy{Scheme: "https", Server: "h:1"}},
	} {
		u, err := ParseUpstreamURL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if want.IsMTProxy() {
			want.secret = u.secret
			if u.secret.Mode == 0 {
				t.Errorf("%s: no secret", text)
			}
		}
		if u != want {
			t.Errorf("%s: %#v", text, u)
		}
		var v UpstreamURL
		if err := v.UnmarshalText([]byte(text)); err != nil || v != u {
			t.Errorf("%s: UnmarshalText returns %#v, %v", text, v, err)
		}
	}
}

func TestUpstreamURLIsShownWithoutCredentials(t *testing.T) {
	for text, want := range map[string]string{
		"direct":                           "direct",
		"socks5h://me:pw@127.0.0.1:1080":   "socks5://127.0.0.1:1080",
		"http://me:pw@proxy:3128?weight=2": "http://proxy:3128",
		"https://me:pw@proxy:3128":         "https://proxy:3128",
		link + mtwiretest.FakeTLSSecret:    "mtproxy proxy.example:443 faketls:[redacted]:example.com",
		"wss?weight=2":                     "wss",
		"wss://h/p?via=http://me:pw@h:1":   "wss://h/p?via=http://h:1",
		"wss://h:8443":                     "wss://h:8443/apiws",
		webLink + mtwiretest.PaddedSecret:  "webproxy web.example padded:[redacted]",
		webLink + mtwiretest.PaddedSecret + "&via=socks5://me:pw@h:1": "webproxy web.example padded:[redacted] via socks5://h:1",
	} {
		u := upstreams(t, text)[0]
		if shown := fmt.Sprintf("%v %+v", u, Config{Upstreams: []UpstreamURL{u}}.Upstreams); shown != want+" ["+want+"]" {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
}

// The error of a mistyped URL does not contain the password, in whatever part of the
// URL the password is.
func TestErrorOfABadUpstreamDoesNotQuoteIt(t *testing.T) {
	for _, text := range []string{
		"",
		"hunter2",
		"wss://me:hunter2@host/apiws",
		"wss://host/apiws?hunter2",
		"wss?via=socks5://me:hunter2@host",
		"wss?via=hunter2&via=hunter2",
		"wss?via=socks5://me:hunter2@host:1&via=socks5://host:1",
		"wss://host:0/hunter2",
		"wss:hunter2",
		"wss:///hunter2",
		"wss?via=%hunter2",
		"tg://webproxy?server=hunter2&secret=hunter2",
		"hunter2://host:1",
		"socks4://me:hunter2@host:1080",
		"socks5://me:hunter2@host",
		"socks5://me:hunter2@:1080",
		"socks5://me:hunter2@host:0",
		"socks5://me:hunter2@host:65536",
		"socks5://me:hunter2@host:1080/path",
		"socks5://me:12#hunter2@host:1080",
		"socks5://me:12/hunter2@host:1080",
		"socks5://me:12?hunter2@host:1080",
		"socks5://me:hun/ter2@host:1080",
		"socks5://me:%hunter2@host:1080",
		"socks5://:hunter2@host:1080",
		"socks5:me:hunter2@host:1080",
		"socks5://me:hunter2" + strings.Repeat("x", 255) + "@host:1080",
		"http://hunter2%3A:x@host:3128",
		"socks5://me:hunter2@host:1080?weight=0",
		"socks5://me:hunter2@host:1080?weight=1001",
		"socks5://me:hunter2@host:1080?weight=hunter2",
		"socks5://me:hunter2@host:1080?weight=1&weight=2",
		"socks5://me:hunter2@host:1080?hunter2=1",
		"direct?hunter2",
		"direct:hunter2",
		link + "hunter2",
		link + mtwiretest.PlainSecret + "&weight=-1",
		"https://t.me/hunter2?server=proxy.example&port=443&secret=" + mtwiretest.PlainSecret,
	} {
		u, err := ParseUpstreamURL(text)
		if err == nil {
			t.Errorf("%q is parsed as %v", text, u)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ter2") || strings.Contains(err.Error(), mtwiretest.PlainSecret) {
			t.Errorf("%q: the error quotes it: %v", text, err)
		}
	}
}

func FuzzParseUpstreamURL(f *testing.F) {
	for _, text := range []string{
		"direct?weight=2", "socks5://me:pw@127.0.0.1:1080", "https://[::1]:443/?weight=9", "http://a%20b:c%3Ad@host:1",
		link + mtwiretest.FakeTLSSecret + "&weight=3", "https://t.me" + link[4:] + mtwiretest.PaddedSecret,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseUpstreamURL(text)
		if err != nil {
			if u != (UpstreamURL{}) {
				t.Fatalf("an error and %v", u)
			}
			return
		}
		if w := u.Weight(); w < 1 || w > maxWeight {
			t.Fatalf("weight %d", w)
		}
		// The shown text has no credentials: parsing it returns none.
		if u.kind != kindMTProxy {
			back, err := ParseUpstreamURL(u.String())
			if err != nil || back != (UpstreamURL{kind: u.kind, proxy: proxydial.Proxy{Scheme: u.proxy.Scheme, Server: u.proxy.Server}}) {
				t.Fatalf("%q is shown as %q, which is %#v, %v", text, u, back, err)
			}
		} else if u.secret.Mode == 0 || strings.Contains(u.String(), u.secret.String()) ||
			u.String() != "mtproxy "+u.proxy.Server+" "+u.secret.Redacted() {
			t.Fatalf("%q is shown as %q", text, u)
		}
		if u.kind != kindDirect && u.kind != kindMTProxy {
			if _, _, err := netx.SplitHostPort(u.proxy.Server); err != nil {
				t.Fatalf("address %q: %v", u.proxy.Server, err)
			}
		}
		if u.kind == kindDirect && (u.proxy.Server != "" || u.secret != mtproxy.Secret{}) {
			t.Fatalf("%#v", u)
		}
	})
}
