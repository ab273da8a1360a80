package webproxy

import (
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"strings"
)

// pageText is the page that apps run, with {{nonce}} and {{bootstrap}} in place of
// what each answer has of its own.
//
//go:embed page.html
var pageText string

// pagePolicy is the page's Content-Security-Policy, with the same names and {{host}}.
// A page of Telegram Desktop on loopback may be its parent.
var pagePolicy = strings.Join([]string{
	"default-src 'none'", "base-uri 'none'", "child-src 'none'", "connect-src 'self' wss://{{host}}", "font-src 'none'",
	"form-action 'none'", "frame-ancestors http://127.0.0.1:*", "frame-src 'none'", "img-src 'none'", "manifest-src 'none'",
	"media-src 'none'", "object-src 'none'", "script-src 'nonce-{{nonce}}'", "style-src 'none'", "worker-src 'none'",
	"sandbox allow-same-origin allow-scripts",
}, "; ")

// pagePermissions denies the page what asks a user, or reads a device.
var pagePermissions = strings.Join([]string{
	"accelerometer=()", "camera=()", "clipboard-read=()", "clipboard-write=()", "display-capture=()", "geolocation=()",
	"gyroscope=()", "hid=()", "magnetometer=()", "microphone=()", "midi=()", "payment=()", "serial=()", "usb=()",
}, ", ")

// servePage answers GET of the base path with a capability. Over the rate of pages,
// it is the site's. The page may not have X-Frame-Options, nor policies of openers and
// embedders, which would keep the parent on loopback out.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) bool {
	text, ok := strings.CutPrefix(r.URL.RawQuery, "bridge=")
	if !ok || r.Method != http.MethodGet {
		return false
	}
	u := s.user(text)
	if u == nil {
		return false
	}
	bootstrap, ok := s.issueBootstrap(u)
	if !ok {
		return false
	}
	s.drain(w)
	limitRest(w, r)
	var random [18]byte // 24 characters: not to be taken for a token
	rand.Read(random[:])
	fill := strings.NewReplacer("{{nonce}}", base64.RawURLEncoding.EncodeToString(random[:]), "{{bootstrap}}", bootstrap.String(), "{{host}}", s.host)
	page := fill.Replace(pageText)
	answer(w, http.StatusOK,
		"Content-Type", "text/html",
		"Content-Length", strconv.Itoa(len(page)),
		"Content-Security-Policy", fill.Replace(pagePolicy),
		"Permissions-Policy", pagePermissions,
		"Referrer-Policy", "no-referrer",
		"X-Content-Type-Options", "nosniff",
		"X-Dns-Prefetch-Control", "off",
	)
	// A connection of HTTP/2 keeps memory for the longest piece that it has sent. Each is a
	// record of TLS: with one length, or always the same ones, these would show the page to
	// the network.
	const shortest, longest = 1 << 8, 1 << 10
	control := http.NewResponseController(w)
	for len(page) > 0 {
		n := min(len(page), shortest+mathrand.N(longest-shortest))
		io.WriteString(w, page[:n])
		control.Flush()
		page = page[n:]
	}
	return true
}
