package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

const link = "tg://proxy?server=proxy.example&port=443&secret="

func TestUpstreamsAreRead(t *testing.T) {
	for text, want := range map[string]Upstream{
		"direct":                            {},
		"Direct?weight=3":                   {share: 3},
		"socks5://127.0.0.1:1080":           {kind: socks5, server: "127.0.0.1:1080"},
		"socks5h://me:p%3Aw%40@[::1]:1080/": {kind: socks5, server: "[::1]:1080", user: "me", password: "p:w@"},
		"socks5://me@host:1080?weight=1000": {kind: socks5, server: "host:1080", user: "me", share: 1000},
		"http://me:pw@proxy:3128?weight=2":  {kind: httpProxy, server: "proxy:3128", user: "me", password: "pw", share: 2},
		"https://proxy:443":                 {kind: httpsProxy, server: "proxy:443"},
		link + mtwiretest.PlainSecret:       {kind: kindMTProxy, server: "proxy.example:443"},
		link + mtwiretest.FakeTLSSecret:     {kind: kindMTProxy, server: "proxy.example:443"},
		"https://t.me" + link[4:] + mtwiretest.PaddedSecret + "&weight=7#x": {kind: kindMTProxy, server: "proxy.example:443", share: 7},
	} {
		u, err := ParseUpstream(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if want.kind == kindMTProxy {
			want.secret = u.secret
			if u.secret.Mode == 0 {
				t.Errorf("%s: no secret", text)
			}
		}
		if u != want {
			t.Errorf("%s: %#v", text, u)
		}
	}
}

func TestUpstreamsAreShownWithoutCredentials(t *testing.T) {
	for text, want := range map[string]string{
		"direct":                           "direct",
		"socks5h://me:pw@127.0.0.1:1080":   "socks5://127.0.0.1:1080",
		"http://me:pw@proxy:3128?weight=2": "http://proxy:3128",
		"https://me:pw@proxy:3128":         "https://proxy:3128",
		link + mtwiretest.FakeTLSSecret:    "mtproxy proxy.example:443 faketls:[redacted]:example.com",
	} {
		u := upstreams(t, text)[0]
		if shown := fmt.Sprintf("%v %+v", u, Config{Upstreams: []Upstream{u}}.Upstreams); shown != want+" ["+want+"]" {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
}

// "A dial error names DC, address and via, never credentials", and neither do
// the errors of a mistyped URL, wherever in it the password has got to.
func TestBadUpstreamsAreRefusedWithoutQuotingThem(t *testing.T) {
	for _, text := range []string{
		"",
		"hunter2",
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
		u, err := ParseUpstream(text)
		if err == nil {
			t.Errorf("%q is read as %v", text, u)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ter2") || strings.Contains(err.Error(), mtwiretest.PlainSecret) {
			t.Errorf("%q: the error quotes it: %v", text, err)
		}
	}
}

func FuzzParseUpstream(f *testing.F) {
	for _, text := range []string{
		"direct?weight=2", "socks5://me:pw@127.0.0.1:1080", "https://[::1]:443/?weight=9", "http://a%20b:c%3Ad@host:1",
		link + mtwiretest.FakeTLSSecret + "&weight=3", "https://t.me" + link[4:] + mtwiretest.PaddedSecret,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseUpstream(text)
		if err != nil {
			if u != (Upstream{}) {
				t.Fatalf("an error and %v", u)
			}
			return
		}
		if w := u.weight(); w < 1 || w > maxWeight {
			t.Fatalf("weight %d", w)
		}
		// What is shown has no credentials: they do not come back from it.
		if u.kind != kindMTProxy {
			back, err := ParseUpstream(u.String())
			if err != nil || back != (Upstream{kind: u.kind, server: u.server}) {
				t.Fatalf("%q is shown as %q, which is %#v, %v", text, u, back, err)
			}
		} else if u.secret.Mode == 0 || strings.Contains(u.String(), u.secret.String()) ||
			u.String() != "mtproxy "+u.server+" "+u.secret.Redacted() {
			t.Fatalf("%q is shown as %q", text, u)
		}
		if u.kind != direct && u.kind != kindMTProxy && checkAddress(u.server) != nil {
			t.Fatalf("address %q", u.server)
		}
		if u.kind == direct && (u.server != "" || u.secret != mtproxy.Secret{}) {
			t.Fatalf("%#v", u)
		}
	})
}
