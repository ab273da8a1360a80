package webproxy

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
)

const (
	plainB64  = "AAECAwQFBgcICQoLDA0ODw"
	paddedB64 = "3QABAgMEBQYHCAkKCwwNDg8"
	// 0x70 in front of the plain and the padded secret
	markedPlain  = "cAABAgMEBQYHCAkKCwwNDg8"
	markedPadded = "cN0AAQIDBAUGBwgJCgsMDQ4P"
)

func TestEverySpellingOfALinkIsTheSameLink(t *testing.T) {
	plain, padded := mustSecret(t, countingHex), mustSecret(t, "dd"+countingHex)
	root := Link{Host: "proxy.example.com", Secret: padded}
	path := Link{Host: "proxy.example.com", Path: "a-1/B_2", Secret: plain}
	for text, want := range map[string]Link{
		"tg://webproxy?server=proxy.example.com&secret=dd" + countingHex:                            root,
		"tg:webproxy?server=proxy.example.com&secret=DD" + strings.ToUpper(countingHex):             root,
		"TG://WebProxy/?secret=" + paddedB64 + "&server=Proxy.Example.COM":                          root,
		"https://t.me/webproxy?host=proxy.example.com&secret=" + paddedB64 + "=":                    root,
		"http://telegram.me/webproxy?host=x.y&server=proxy.example.com&secret=" + paddedB64:         root,
		"https://telegram.dog/webproxy/?server=proxy.example.com/&secret=" + paddedB64 + "%3D#frag": root,
		"tg://webproxy?server=proxy.example.com&port=443&secret=" + markedPadded:                    root,
		" <tg://webproxy?server=proxy.example.com&amp;secret=" + paddedB64 + ">\n":                  root,
		"tg://webproxy?server=proxy.example.com&server=b.c&secret=" + paddedB64 + "&secret=1":       root,
		"tg://webproxy?server=proxy.example.com%2Fa-1%2FB_2&secret=" + markedPlain:                  path,
		"https://t.me/webproxy?server=proxy.example.com/a-1/B_2/&secret=" + markedPlain:             path,
		"tg://webproxy?server=proxy.example.com&secret=" + plainB64 + "==":                          {Host: "proxy.example.com", Secret: plain},
		"tg://webproxy?server=proxy.example.com&secret=" + countingHex:                              {Host: "proxy.example.com", Secret: plain},
	} {
		if got, err := ParseLink(text); err != nil || got != want {
			t.Errorf("ParseLink(%q) = %v %v, %v", text, got.Redacted(), got.Secret, err)
		}
		if !IsLink(text) {
			t.Errorf("%q is no link", text)
		}
	}
}

// The example is of an app's test: old apps take a marked secret for an unsupported
// one, and do not use the host without the path.
func TestALinkIsWrittenAsAppsReadIt(t *testing.T) {
	secret := mustSecret(t, "8561944064fc730cbfa4473562d8ec59")
	l := Link{Host: "xn--bcher-kva.example", Path: "Two/segments", Secret: secret}
	want := "server=xn--bcher-kva.example%2FTwo%2Fsegments&secret=cIVhlEBk_HMMv6RHNWLY7Fk"
	if got := l.String(); got != "tg://webproxy?"+want {
		t.Error(got)
	}
	if got := l.HTTPS(); got != "https://t.me/webproxy?"+want {
		t.Error(got)
	}
	for _, l := range []Link{l, {Host: l.Host, Secret: secret}, {Host: l.Host, Path: "p", Secret: mustSecret(t, "dd"+countingHex)}} {
		for _, text := range []string{l.String(), l.HTTPS()} {
			if got, err := ParseLink(text); err != nil || got != l {
				t.Errorf("%s: %v, %v", text, got.Redacted(), err)
			}
		}
	}
	if l.Base() != "/Two/segments/" || (Link{}).Base() != "/" {
		t.Error(l.Base())
	}
}

func TestEveryRefusedLinkHasAReason(t *testing.T) {
	const ok = "&secret=dd" + countingHex
	for text, reason := range map[string]string{
		"":                                    "want a tg://webproxy",
		"tg://proxy?server=a.b&port=443" + ok: "an MTProxy link",
		"tg://socks?server=a.b" + ok:          "a SOCKS5 link",
		"https://example.com/webproxy?server=a.b" + ok:                                    "want a tg://webproxy",
		"tg://webproxy?" + ok:                                                             "no server",
		"tg://webproxy?server=a.b":                                                        "no secret",
		"tg://webproxy?server=a.b&secret=%zz":                                             "secret has a %",
		"tg://webproxy?server=a.b&port=8443" + ok:                                         "a port other than 443",
		"tg://webproxy?server=" + ok:                                                      "empty",
		"tg://webproxy?server=localhost" + ok:                                             "no dot in it, want a name such as proxy.example.org",
		"tg://webproxy?server=a.b:443" + ok:                                               "a colon",
		"tg://webproxy?server=[2001:db8::1]" + ok:                                         "a colon",
		"tg://webproxy?server=a.b." + ok:                                                  "a dot at its end",
		"tg://webproxy?server=a..b" + ok:                                                  "an empty label",
		"tg://webproxy?server=-a.b" + ok:                                                  "begins or ends with -",
		"tg://webproxy?server=a-.b" + ok:                                                  "begins or ends with -",
		"tg://webproxy?server=b%C3%BCcher.example" + ok:                                   "xn--",
		"tg://webproxy?server=a_b.c" + ok:                                                 "'_'",
		"tg://webproxy?server=192.0.2.1" + ok:                                             "an IP address",
		"tg://webproxy?server=192.0.513" + ok:                                             "an IP address",
		"tg://webproxy?server=a.0x7f" + ok:                                                "an IP address",
		"tg://webproxy?server=a.0x" + ok:                                                  "an IP address",
		"tg://webproxy?server=" + strings.Repeat("a", 64) + ".b" + ok:                     "label of 64 bytes",
		"tg://webproxy?server=" + strings.Repeat("a.", 126) + "bc" + ok:                   "254 bytes",
		"tg://webproxy?server=a.b/p" + ok:                                                 "not base64url with 0x70",
		"tg://webproxy?server=a.b/p&secret=" + markedPlain + "=":                          "not base64url with 0x70",
		"tg://webproxy?server=a.b/p&secret=70" + countingHex:                              "not a key of 16 bytes",
		"tg://webproxy?server=a.b/p//q&secret=" + markedPlain:                             "empty segment",
		"tg://webproxy?server=a.b//p&secret=" + markedPlain:                               "empty segment",
		"tg://webproxy?server=a.b/-p&secret=" + markedPlain:                               "'-'",
		"tg://webproxy?server=a.b/p.q&secret=" + markedPlain:                              "'.'",
		"tg://webproxy?server=a.b/p%2525&secret=" + markedPlain:                           "'%'",
		"tg://webproxy?server=a.b/" + strings.Repeat("p", 129) + "&secret=" + markedPlain: "129 bytes",
		"tg://webproxy?server=a.b&secret=ee" + countingHex + "6578616d706c652e636f6d":     "an ee secret",
		"tg://webproxy?server=a.b&secret=7gABAgMEBQYHCAkKCwwNDg9leGFtcGxl":                "an ee secret",
		"tg://webproxy?server=a.b&secret=ee" + countingHex + "612e6578616d706c65":         "an ee secret",
		"tg://webproxy?server=a.b&secret=EE" + strings.ToUpper(countingHex) + "61":        "an ee secret",
		"tg://webproxy?server=a.b&secret=ee" + countingHex:                                "an ee secret",
		"tg://webproxy?server=a.b&secret=" + countingHex[:30]:                             "neither hexadecimal nor base64url",
		"tg://webproxy?server=a.b&secret=AAECAwQF!gcICQoLDA0ODw":                          "neither hexadecimal nor base64url",
		"tg://webproxy?server=a.b&secret=AAECAwQF%0AgcICQoLDA0ODw":                        "neither hexadecimal nor base64url",
		"tg://webproxy?server=a.b&secret=" + plainB64 + "===":                             "more than two =",
		"tg://webproxy?server=a.b&secret=":                                                "not a key of 16 bytes",
	} {
		_, err := ParseLink(text)
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("ParseLink(%q): %v, want %q", text, err, reason)
		}
		if err != nil && (strings.Contains(err.Error(), countingHex[:8]) || strings.Contains(err.Error(), "AAEC")) {
			t.Errorf("the error quotes the secret: %v", err)
		}
	}
	for _, l := range []Link{
		{Host: "A.b", Secret: mustSecret(t, countingHex)},
		{Host: "a.b"},
		{Host: "a.b", Secret: mtproxy.Secret{Mode: mtproxy.FakeTLS, Domain: "a.b"}},
		{Host: "a.b", Secret: mtproxy.Secret{Mode: mtproxy.Plain, Domain: "a.b"}},
	} {
		if l.Check() == nil {
			t.Errorf("%v passes", l)
		}
	}
}

func TestALinkIsRedactedInLogs(t *testing.T) {
	l := Link{Host: "a.b", Path: "p", Secret: mustSecret(t, "dd"+countingHex)}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "link", l, "capability", l.Capability())
	if text := log.String() + l.Redacted(); strings.Contains(text, countingHex[:8]) || strings.Contains(text, l.Capability().String()) {
		t.Error(text)
	}
	if got := fmt.Sprint(l.Redacted()); got != "https://a.b/p/ padded:[redacted]" {
		t.Error(got)
	}
}

// The first four are published by the protocol's authors in PROTOCOL.md and
// BASE_PATH.md; the other two were computed with Python's hmac.
func TestCapabilityMatchesThePublishedOnes(t *testing.T) {
	for _, c := range []struct{ host, path, secret, want string }{
		{"proxy.example.com", "", countingHex, "MHLEY5PmW1GWqJkSrlmJpvJUiLhBH_QKy6yKg8a0JPk"},
		{"proxy.example.com", "", "dd" + countingHex, "IpJrt3e7sKtzPyoXy6w-Zj6GGEvsvclN66JzQEfPYLA"},
		{"proxy.example.com", "dobry-cola-super-app", countingHex, "hHz99Xs93EN1j91G9gpNepXwGNNt5YdAFkEVk_LlqdQ"},
		{"proxy.example.com", "dobry-cola-super-app", "dd" + countingHex, "TGUkZaevsavLbHvlNWipnRoYxgzZ51ioWvbxgGT3wHo"},
		{"proxy.example.com", "Two/segments", countingHex, "86whFwQxQ4zgWD5XizAVBtnavklE7zoHBmGQJJ_cgeY"},
		{"xn--bcher-kva.example", "", countingHex, "G8OXpDDRVst4SRakme2Seeeejb1ln7JFeRQUHDLyUoM"},
	} {
		l := Link{Host: c.host, Path: c.path, Secret: mustSecret(t, c.secret)}
		got := l.Capability()
		if got.String() != c.want {
			t.Errorf("%+v: %v", c, got)
		}
		parsed, ok := ParseCapability(c.want)
		if !ok || !parsed.Equal(got) || parsed.Equal(Capability{}) {
			t.Errorf("%v is parsed as %v, %v", c.want, parsed, ok)
		}
	}
}

// A capability has one spelling: 43 characters, without padding, and with zeros in
// the two bits that are left over.
func TestOnlyTheCanonicalSpellingIsACapability(t *testing.T) {
	const ok = "MHLEY5PmW1GWqJkSrlmJpvJUiLhBH_QKy6yKg8a0JPk"
	for _, text := range []string{
		"", ok[:42], ok + "=", ok + "A", ok[:42] + "l", ok[:42] + "+", "\n" + ok[1:], ok[:20] + "\n" + ok[21:],
		strings.Replace(ok, "_", "/", 1), strings.Replace(ok, "_", "%", 1),
	} {
		if _, valid := ParseCapability(text); valid {
			t.Errorf("%q is accepted", text)
		}
	}
	if _, valid := ParseCapability(ok); !valid {
		t.Error("the canonical one is refused")
	}
}
