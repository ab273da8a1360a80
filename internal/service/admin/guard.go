package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard refuses requests that do not come from an operator's program. A page in a
// browser of the same machine can send requests to any address, and read the answers
// if its own host name resolves to that address (DNS rebinding). So it refuses
//
//   - over TCP, requests without the token, and those for a host that has a name:
//     rebinding needs one. Addresses and localhost remain;
//   - requests of pages of another origin, which browsers mark.
//
// A refusal ends the connection, so that a client without the token holds none. So does a
// body in chunks: servers in front may disagree about where it ends if there is a
// Content-Length as well, which package http does not tell.
//
// Specification: https://datatracker.ietf.org/doc/html/rfc6750#section-2.1 (Bearer);
// https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
type guard struct {
	token func() string // only over TCP
	tcp   bool
	next  http.Handler
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	refuse := func(status int, detail string) {
		h.Set("Connection", "close")
		problem(w, status, detail)
	}
	if len(r.TransferEncoding) > 0 {
		h.Set("Connection", "close")
	}
	switch {
	case g.tcp && !isAddress(r.Host):
		refuse(http.StatusMisdirectedRequest, "the host of the request must be an IP address or localhost")
	case isForeign(r):
		refuse(http.StatusForbidden, "pages of other origins are not served")
	case g.tcp && !g.hasToken(r):
		h.Set("WWW-Authenticate", `Bearer realm="mtwire"`)
		refuse(http.StatusUnauthorized, "the request needs the token: Authorization: Bearer TOKEN")
	case !acceptConnection(r.Context()):
		refuse(http.StatusServiceUnavailable, "too many connections have a request now")
	default:
		g.next.ServeHTTP(w, r)
	}
}

// isAddress reports whether host, with a port or without, is an IP address or
// localhost.
func isAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

// isForeign reports whether a page of another origin has sent the request.
func isForeign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return true
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return false
	}
	origin, err := url.Parse(origins[0])
	return len(origins) > 1 || err != nil || origin.Host == "" || !strings.EqualFold(origin.Host, r.Host)
}

// hasToken reports whether the request has the token, in a time that does not depend
// on how much of it is right.
func (g *guard) hasToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	current := g.token()
	if current == "" || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	given, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(current))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1
}
