package mtproxy

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

var linkSample = Link{Server: "proxy.example.com", Port: 443, Secret: Secret{Mode: Padded, Key: countingKey}}

const linkQuery = "server=proxy.example.com&port=443&secret=dd" + countingHex

// telegram.me and telegram.dog are other names of t.me.
//
// Specification: https://core.telegram.org/api/links#mtproxy-links
func TestEverySpellingOfALinkIsTheSameLink(t *testing.T) {
	for _, text := range []string{
		"tg://proxy?" + linkQuery,
		"tg:proxy?" + linkQuery,
		"TG://Proxy?" + linkQuery,
		"tg://proxy/?" + linkQuery,
		"https://t.me/proxy?" + linkQuery,
		"http://t.me/proxy?" + linkQuery,
		"HTTPS://T.Me/proxy/?" + linkQuery,
		"https://telegram.me/proxy?" + linkQuery,
		"https://telegram.dog/proxy?" + linkQuery,
		"tg://proxy?" + linkQuery + "#fragment?secret=00",
		"tg://proxy?secret=dd" + countingHex + "&port=443&server=proxy.example.com",
		"tg://proxy?channel=x;y%zz&" + linkQuery + "&&flag",
		"tg://proxy?" + linkQuery + "&server=second&port=1&secret=bad%",
		"tg://proxy?host=proxy.example.com&port=443&secret=3QABAgMEBQYHCAkKCwwNDg8",
		"tg://proxy?host=other&" + linkQuery,
		"tg://proxy?server=proxy%2Eexample%2ecom&port=%3443&secret=3QABAgMEBQYHCAkKCwwNDg8%3D",
	} {
		if got, err := ParseLink(text); err != nil || got != linkSample {
			t.Errorf("ParseLink(%q) = %#v, %v", text, got, err)
		}
	}
}

// A link that was copied from a message, a web page or a terminal is the same link.
func TestPastedLinkIsTheSameLink(t *testing.T) {
	html := strings.ReplaceAll(linkQuery, "&", "&amp;")
	for _, text := range []string{
		"t.me/proxy?" + linkQuery,
		"T.me/proxy?" + linkQuery,
		"telegram.me/proxy?" + linkQuery,
		"<tg://proxy?" + linkQuery + ">",
		" <https://t.me/proxy?" + linkQuery + ">\n",
		`"tg://proxy?` + linkQuery + `"`,
		"'t.me/proxy?" + linkQuery + "'",
		"\t“tg://proxy?" + linkQuery + "” ",
		"(`tg://proxy?" + linkQuery + "`)",
		"\ufefftg://proxy?" + linkQuery + "\u200b",
		"\u00a0tg://proxy?" + linkQuery + "\r\n",
		"tg://proxy?" + html,
		"<t.me/proxy?" + html + ">",
		"tg://proxy?server=proxy.example.com&port=443&sec\nret=dd" + countingHex,
		"tg://proxy?server=proxy.example.com&port=443&secret=dd" + countingHex[:8] + " \r\n    " + countingHex[8:],
	} {
		if got, err := ParseLink(text); err != nil || got != linkSample {
			t.Errorf("ParseLink(%q) = %#v, %v", text, got, err)
		}
		if !IsLink(text) {
			t.Errorf("%q is no link", text)
		}
	}
	for text, want := range map[string]string{"": "", " ": "", "<>": "", "<": "<", "<a": "<a", `"`: `"`, "a\nb": "ab", "a b": "a b", "<<'a'>>": "a"} {
		if got := TrimPasted(text); got != want {
			t.Errorf("TrimPasted(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestLinkIsWrittenInTheOfficialOrder(t *testing.T) {
	if got := linkSample.String(); got != "tg://proxy?"+linkQuery {
		t.Errorf("String %s", got)
	}
	if got := linkSample.HTTPS(); got != "https://t.me/proxy?"+linkQuery {
		t.Errorf("HTTPS %s", got)
	}
	if got := linkSample.Addr(); got != "proxy.example.com:443" {
		t.Errorf("Addr %s", got)
	}
}

// In a query "+" means a space. Secrets in base64 have plus signs and no spaces,
// and many links have them unescaped.
func TestPlusSignOfABase64SecretSurvivesTheQuery(t *testing.T) {
	want := secretSamples[3].secret
	const base64Text = "+/+/+/+/+/+/+/+/+/+//w"
	for _, secret := range []string{
		base64Text, base64Text + "==",
		strings.ReplaceAll(base64Text, "+", "%2B"),
		strings.ReplaceAll(base64Text, "+", "%20"),
		strings.ReplaceAll(base64Text, "/", "%2F") + "%3D%3D",
		want.Base64URL(),
	} {
		l, err := ParseLink("tg://proxy?server=h&port=1&secret=" + secret)
		if err != nil || l.Secret != want {
			t.Errorf("secret=%s: %v, %v", secret, l.Secret, err)
		}
	}
}

// Brackets around an IPv6 server are optional in a link. Server has none, and
// Addr has them.
func TestLinkAcceptsIPv6Servers(t *testing.T) {
	const ip = "2001:db8::1"
	for _, server := range []string{ip, "[" + ip + "]", "2001%3Adb8%3A%3A1", "%5B2001:db8::1%5D"} {
		l, err := ParseLink("tg://proxy?port=443&secret=" + countingHex + "&server=" + server)
		if err != nil || l.Server != ip {
			t.Errorf("server=%s: %q, %v", server, l.Server, err)
			continue
		}
		if l.Addr() != "[2001:db8::1]:443" {
			t.Errorf("Addr %s", l.Addr())
		}
		if back, err := ParseLink(l.HTTPS()); err != nil || back != l {
			t.Errorf("%s reads back as %#v, %v", l.HTTPS(), back, err)
		}
	}
}

// International names are kept as they are: the dialer resolves them.
func TestLinkAcceptsInternationalServers(t *testing.T) {
	l := Link{Server: "прокси.рф", Port: 8443, Secret: Secret{Mode: Plain, Key: countingKey}}
	if strings.ContainsFunc(l.String(), func(r rune) bool { return r >= 0x80 }) {
		t.Errorf("%s is not escaped", l)
	}
	if back, err := ParseLink(l.String()); err != nil || back != l {
		t.Errorf("%s reads back as %#v, %v", l, back, err)
	}
}

// The server is UTF-8 of 1 to 255 bytes, the port is from 1 to 65535, and the
// error names the part that is not valid.
func TestParseLinkNamesTheInvalidPart(t *testing.T) {
	const rest = "&port=443&secret=" + countingHex
	for _, c := range []struct{ text, want string }{
		{"", "no scheme"},
		{"example.com/proxy?" + linkQuery, "no scheme"},
		{"proxy&" + linkQuery, "no scheme"},
		{"ftp://t.me/proxy?" + linkQuery, "scheme is not tg, https or http"},
		{"https:t.me/proxy?" + linkQuery, "no //"},
		{"https://example.com/proxy?" + linkQuery, "host is not t.me"},
		{"https://www.t.me/proxy?" + linkQuery, "host is not t.me"},
		{"https://x@t.me/proxy?" + linkQuery, "host is not t.me"},
		{"tg://proxy&" + linkQuery, "want a tg://proxy?"},
		{"tg://resolve?domain=telegram", "want a tg://proxy?"},
		{"https://t.me/telegram", "want a tg://proxy?"},
		{"tg://socks?server=h&port=1080", "a SOCKS5 link, not an MTProxy link"},
		{"https://t.me/socks?server=h&port=1080", "a SOCKS5 link, not an MTProxy link"},
		{"tg://webproxy?server=h&secret=" + countingHex, "a WEB proxy link"},
		{"tg://proxy", "no server"},
		{"tg://proxy?port=443&secret=" + countingHex, "no server"},
		{"tg://proxy?server=" + rest, "server is empty"},
		{"tg://proxy?server=" + strings.Repeat("a", 256) + rest, "server of 256 bytes"},
		{"tg://proxy?server=%ff" + rest, "server is not UTF-8"},
		{"tg://proxy?server=a+b" + rest, "server has a space"},
		{"tg://proxy?server=a%1b[31m" + rest, "unprintable"},
		{"tg://proxy?server=a/b" + rest, "a slash"},
		{"tg://proxy?server=wr0ng!" + rest, "that no host name has"},
		{"tg://proxy?server=[1.2.3.4]" + rest, "brackets"},
		{"tg://proxy?server=[::1" + rest, "brackets"},
		{"tg://proxy?server=h:443" + rest, "a colon"},
		{"tg://proxy?server=%4" + rest, "server has a %"},
		{"tg://proxy?server=h&secret=" + countingHex, "no port"},
		{"tg://proxy?server=h&port=&secret=" + countingHex, "port is not a number"},
		{"tg://proxy?server=h&port=0&secret=" + countingHex, "port is not a number"},
		{"tg://proxy?server=h&port=65536&secret=" + countingHex, "port is not a number"},
		{"tg://proxy?server=h&port=-1&secret=" + countingHex, "port is not a number"},
		{"tg://proxy?server=h&port=443", "no secret"},
		{"tg://proxy?server=h&port=443&secret=", "bad secret: empty"},
		{"tg://proxy?server=h&port=443&secret=" + countingHex + "%", "secret has a %"},
		{"tg://proxy?server=h&port=443&secret=ee" + countingHex, "needs a domain"},
	} {
		l, err := ParseLink(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseLink(%q): error %v, want %q in it", c.text, err, c.want)
			continue
		}
		if l != (Link{}) {
			t.Errorf("ParseLink(%q) returned a link beside its error", c.text)
		}
		if strings.Contains(err.Error(), countingHex[:6]) {
			t.Errorf("error %q quotes the secret", err)
		}
	}
	if _, err := ParseLink("tg://proxy?server=" + strings.Repeat("a", 255) + rest); err != nil {
		t.Errorf("a server of 255 bytes: %v", err)
	}
}

// A link is a credential: logs have its address, and not the key.
func TestLoggedLinkHasNoKey(t *testing.T) {
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("link", "link", linkSample)
	}
	if strings.Contains(out.String(), countingHex[:8]) {
		t.Errorf("the key is in the log: %s", out.String())
	}
	if n := strings.Count(out.String(), "proxy.example.com:443 padded:[redacted]"); n != 2 {
		t.Errorf("redacted form %d times, want 2: %s", n, out.String())
	}
}

// FuzzLink checks that every link which ParseLink accepts is equal to the links
// parsed from its String and HTTPS.
func FuzzLink(f *testing.F) {
	for _, c := range secretSamples {
		l := Link{Server: "2001:db8::1", Port: 65535, Secret: c.secret}
		f.Add(l.String())
		f.Add(l.HTTPS())
		f.Add("tg:proxy?host=%D1%84&port=1&secret=" + c.base64URL + "#x")
	}
	f.Add("tg://socks?server=h&port=1080")
	f.Add("tg://webproxy?server=h%2Fpath&secret=cN0")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLink(text)
		if err != nil {
			if l != (Link{}) {
				t.Fatalf("link beside error %v", err)
			}
			return
		}
		if !IsLink(text) {
			t.Fatalf("%q is no link", text)
		}
		if l.Server == "" || l.Port == 0 || l.Secret.Mode == 0 {
			t.Fatalf("%q: accepted with a part missing: %#v", text, l)
		}
		for _, out := range []string{l.String(), l.HTTPS()} {
			if back, err := ParseLink(out); err != nil || back != l {
				t.Fatalf("%q -> %#v -> %q -> %#v, %v", text, l, out, back, err)
			}
		}
	})
}

// IsLink accepts everything that ParseLink accepts, and no address of a server.
func TestLinksAreDistinguishedFromAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"tg://proxy?server=a&port=1&secret=00": true,
		"tg:proxy?server=a":                    true,
		"TG://proxy":                           true,
		"https://t.me/proxy?server=a":          true,
		"http://Telegram.me/socks?server=a":    true,
		"https://telegram.dog/proxy":           true,
		"https:t.me/proxy":                     true, // ParseLink names the error
		"https://t.me":                         false,
		"https://t.me.example/proxy":           false,
		"https://example.org/t.me/proxy":       false,
		"tcp://t.me/proxy":                     false,
		"t.me/proxy":                           true,
		" <T.me/proxy?server=a> ":              true,
		"proxy?server=a":                       false,
		"t.me":                                 false,
		"t.me:443":                             false,
		"proxy":                                false,
		"proxy:443":                            false,
		"":                                     false,
	} {
		if IsLink(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
