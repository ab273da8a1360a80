package proxy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/route"
)

// Upstream is what data centres are reached through: nothing, a SOCKS5 or HTTP
// proxy, another MTProxy, their WebSockets, or a WEB proxy. The zero value is direct with weight 1.
type Upstream struct{ url route.UpstreamURL }

// ParseUpstream parses an upstream in one of these forms:
//
//	direct
//	socks5://USER:PASSWORD@HOST:PORT        also socks5h, which means the same
//	http://USER:PASSWORD@HOST:PORT          also https
//	tg://proxy?server=HOST&port=PORT&secret=SECRET
//	https://t.me/proxy?server=HOST&port=PORT&secret=SECRET
//	wss                                     the data centres' WebSockets, over TLS
//	wss://HOST:PORT/apiws                   a WebSocket for all data centres
//	tg://webproxy?server=HOST&secret=SECRET also https://t.me/webproxy
//
// User and password are optional. The last three forms take via=URL, a SOCKS5 or HTTP
// proxy in front of them. All forms take a weight from 1, the default,
// to 1000, as in "direct?weight=3": an upstream of weight 3 takes three times as
// many connections as one of weight 1. Errors quote nothing of text, which may
// contain a password.
func ParseUpstream(text string) (Upstream, error) {
	url, err := route.ParseUpstreamURL(text)
	return Upstream{url}, err
}

// UnmarshalText is ParseUpstream. An error leaves u as it was.
func (u *Upstream) UnmarshalText(text []byte) error { return u.url.UnmarshalText(text) }

// String returns the upstream without credentials and weight, for logs.
func (u Upstream) String() string { return u.url.String() }

// HasCredentials reports whether u has a password or a secret, which String leaves
// out.
func (u Upstream) HasCredentials() bool { return u.url.HasCredentials() }

// UpstreamStatus is an upstream, and how its connections go.
type UpstreamStatus struct {
	Upstream string // "direct", or the upstream without credentials
	Weight   int
	// Failing reports whether other upstreams are tried first, because connections to
	// it have failed or have led back to the proxy.
	Failing bool
	// PaddedOnly reports whether it takes dd and ee clients only: see ProbeClassic.
	PaddedOnly bool
}

// Upstreams returns the upstreams as they are configured: at least one.
func (p *Proxy) Upstreams() (all []UpstreamStatus) {
	for _, u := range p.settings().router.Upstreams() {
		all = append(all, UpstreamStatus(u))
	}
	return all
}

// attempted returns the router's hook, nil if no trace has one.
func (p *Proxy) attempted() func(route.Attempt) {
	if !slices.ContainsFunc(p.trace, func(t *Trace) bool { return t.Attempted != nil }) {
		return nil
	}
	return func(a route.Attempt) { p.trace.attempted(Attempt(a)) }
}

// MarshalText returns the upstream without credentials, as String does, and its weight.
func (u Upstream) MarshalText() ([]byte, error) {
	text := u.url.String()
	if weight := u.url.Weight(); weight != 1 {
		separator := "?"
		if strings.Contains(text, "?") {
			separator = "&"
		}
		text += separator + "weight=" + strconv.Itoa(weight)
	}
	return []byte(text), nil
}
