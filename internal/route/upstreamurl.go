package route

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/proxydial"
	"github.com/mtwire/mtwire/mtproxy"
)

// kind is an upstream's protocol.
type kind uint8

const (
	kindDirect kind = iota
	kindProxy
	kindMTProxy
)

// UpstreamURL is a configured upstream: direct, a SOCKS5 or HTTP proxy, or
// another MTProxy. The zero value is direct with weight 1. ParseUpstreamURL
// returns the others.
type UpstreamURL struct {
	kind   kind
	proxy  proxydial.Proxy // SOCKS5 and HTTP; of an MTProxy the Server only
	secret mtproxy.Secret
	weight int // 0 means 1
}

// HasCredentials reports whether u has a password or a secret, which String leaves
// out.
func (u UpstreamURL) HasCredentials() bool { return u.proxy.User != "" || u.secret.Mode != 0 }

const (
	paramWeight = "weight"
	maxWeight   = 1000
)

// ParseUpstreamURL parses an upstream in one of these forms:
//
//	direct
//	socks5://USER:PASSWORD@HOST:PORT        also socks5h, which means the same
//	http://USER:PASSWORD@HOST:PORT          also https
//	tg://proxy?server=HOST&port=PORT&secret=SECRET
//	https://t.me/proxy?server=HOST&port=PORT&secret=SECRET
//
// User and password are optional. SOCKS5 and HTTP proxies resolve the host names
// of data centres. All forms take a weight from 1, the default, to 1000, as in
// "direct?weight=3": an upstream of weight 3 takes three times as many connections
// as one of weight 1.
//
// Errors quote nothing of text: any part of a mistyped URL may be its password.
func ParseUpstreamURL(text string) (UpstreamURL, error) {
	u, err := parseUpstreamURL(text)
	if err != nil {
		return UpstreamURL{}, fmt.Errorf("bad upstream: %w", err)
	}
	return u, nil
}

var errForm = errors.New("want direct, socks5://HOST:PORT, http://HOST:PORT, https://HOST:PORT or a tg://proxy?... link")

func parseUpstreamURL(text string) (UpstreamURL, error) {
	text = strings.TrimSpace(text)
	if mtproxy.IsLink(text) {
		return parseLink(text)
	}
	base, query, _ := strings.Cut(text, "?")
	weight, err := parseWeight(query, refuseOthers)
	if err != nil {
		return UpstreamURL{}, err
	}
	if strings.EqualFold(base, "direct") {
		return UpstreamURL{weight: weight}, nil
	}
	proxy, err := proxydial.Parse(base)
	if err == proxydial.ErrForm {
		err = errForm
	}
	return UpstreamURL{kind: kindProxy, proxy: proxy, weight: weight}, err
}

func parseLink(text string) (UpstreamURL, error) {
	link, err := mtproxy.ParseLink(text)
	if err != nil {
		return UpstreamURL{}, err
	}
	text, _, _ = strings.Cut(mtproxy.TrimPasted(text), "#")
	_, query, _ := strings.Cut(text, "?")
	weight, err := parseWeight(query, ignoreOthers)
	if err != nil {
		return UpstreamURL{}, err
	}
	return UpstreamURL{kind: kindMTProxy, proxy: proxydial.Proxy{Server: link.Addr()}, secret: link.Secret, weight: weight}, nil
}

// otherParams is how parseWeight treats the other parameters of a query.
type otherParams uint8

const (
	refuseOthers otherParams = iota
	ignoreOthers             // for links, which have their own
)

// parseWeight returns the weight parameter of a query, or 0 if it has none.
func parseWeight(query string, others otherParams) (weight int, err error) {
	for param := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(param, "=")
		switch {
		case name == paramWeight && weight != 0:
			return 0, errors.New("the weight is given twice")
		case name == paramWeight:
			weight, err = strconv.Atoi(value)
			if err != nil || weight < 1 || weight > maxWeight {
				return 0, fmt.Errorf("the weight is not a number from 1 to %d", maxWeight)
			}
		case others == refuseOthers && param != "":
			return 0, errors.New("the only parameter is weight; in a password write ? as %3F")
		}
	}
	return weight, nil
}

// UnmarshalText is ParseUpstreamURL. An error leaves u as it was.
func (u *UpstreamURL) UnmarshalText(text []byte) error {
	parsed, err := ParseUpstreamURL(string(text))
	if err == nil {
		*u = parsed
	}
	return err
}

// String returns the upstream without credentials and weight, for logs: "direct",
// "socks5://127.0.0.1:1080", or an MTProxy's address and its redacted secret.
func (u UpstreamURL) String() string {
	switch u.kind {
	case kindProxy:
		return u.proxy.String()
	case kindMTProxy:
		return "mtproxy " + u.proxy.Server + " " + u.secret.Redacted()
	}
	return "direct"
}

// IsMTProxy reports whether the upstream is another MTProxy.
func (u UpstreamURL) IsMTProxy() bool { return u.kind == kindMTProxy }

// Weight returns the share of connections that the upstream takes, from 1.
func (u UpstreamURL) Weight() int { return max(u.weight, 1) }

// addresses returns what to connect to for a data centre with these addresses. An
// MTProxy has one address for all data centres.
func (u UpstreamURL) addresses(dataCenter []string) []string {
	if u.kind == kindMTProxy {
		return []string{u.proxy.Server}
	}
	return dataCenter
}
