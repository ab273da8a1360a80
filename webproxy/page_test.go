//go:build !js

package webproxy

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The page has the status, the type and the headers that the apps' web views demand, and
// none that keeps the parent on loopback from showing it.
func TestThePagesHeadersAreStrict(t *testing.T) {
	for _, path := range []string{"", "two/segments"} {
		h := newHandler(t, HTTPS, func(c *ServerConfig) { c.Path = path })
		w := h.do("GET", h.link.Base()+"?bridge="+h.link.Capability().String(), nil)
		page := string(body(t, w))
		nonce := regexp.MustCompile(`<script nonce="([A-Za-z0-9_-]{24})">`).FindStringSubmatch(page)
		if nonce == nil || strings.Contains(page, "{{") {
			t.Fatal(page)
		}
		want := map[string]string{
			"Cache-Control":  "no-store",
			"Content-Length": strconv.Itoa(len(page)),
			"Content-Security-Policy": "default-src 'none'; base-uri 'none'; child-src 'none'; connect-src 'self' wss://" + testHost +
				"; font-src 'none'; form-action 'none'; frame-ancestors http://127.0.0.1:*; frame-src 'none'; img-src 'none'; manifest-src 'none'" +
				"; media-src 'none'; object-src 'none'; script-src 'nonce-" + nonce[1] + "'; style-src 'none'; worker-src 'none'" +
				"; sandbox allow-same-origin allow-scripts",
			"Content-Type":           "text/html",
			"Permissions-Policy":     pagePermissions,
			"Referrer-Policy":        "no-referrer",
			"X-Content-Type-Options": "nosniff",
			"X-Dns-Prefetch-Control": "off",
		}
		if names := slices.Sorted(maps.Keys(w.Header)); w.StatusCode != http.StatusOK || !slices.Equal(names, slices.Sorted(maps.Keys(want))) {
			t.Errorf("%v, headers %v", w.Status, names)
		}
		for name, value := range want {
			if got := w.Header[name]; len(got) != 1 || got[0] != value {
				t.Errorf("%s: %q, want %q", name, got, value)
			}
		}
		for _, device := range []string{"camera", "microphone", "geolocation", "usb", "serial", "hid", "midi", "payment"} {
			if !strings.Contains(pagePermissions, device+"=()") {
				t.Errorf("the page may use %s", device)
			}
		}
	}
}

// The page has one text that can be a token, one script, and uses nothing that the apps
// take away or forbid. Each answer has a token and a nonce of its own.
func TestThePageHasOneToken(t *testing.T) {
	h := newHandler(t, HTTPS, nil)
	texts := map[string]bool{}
	for range 3 {
		page := string(body(t, h.do("GET", "/?bridge="+h.link.Capability().String(), nil)))
		token := regexp.MustCompile(`[A-Za-z0-9_-]{43,}`).FindAllString(page, -1)
		if len(token) != 1 || !strings.Contains(page, `"`+token[0]+`"`) {
			t.Fatalf("texts of a token's form: %q", token)
		}
		texts[token[0]] = true
		texts[regexp.MustCompile(`nonce="(.*?)"`).FindStringSubmatch(page)[1]] = true
		for _, name := range []string{
			"cookie", "localStorage", "sessionStorage", "indexedDB", "caches", "Worker", "RTC", "WebTransport", "WebAssembly", "eval", "Function(",
			"import(", "innerHTML", "document.", "http://", "https://", "href", "src=", "style", "onload=", "window.open", "console.",
		} {
			if strings.Contains(page, name) {
				t.Errorf("the page has %q", name)
			}
		}
		if strings.Count(page, "<script") != 1 {
			t.Error("the page has several scripts")
		}
	}
	if len(texts) != 6 {
		t.Errorf("%d tokens and nonces in 3 answers", len(texts))
	}
}
