package route

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/proxydial"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// kind is an upstream's protocol.
type kind uint8

const (
	kindDirect kind = iota
	kindProxy
	kindMTProxy
	kindWebSocket
	kindWEB
)

// UpstreamURL is a configured upstream: direct, a SOCKS5 or HTTP proxy, another
// MTProxy, the data centres' WebSockets, or a WEB proxy. The zero value is direct with
// weight 1. ParseUpstreamURL returns the others.
type UpstreamURL struct {
	kind   kind
	proxy  proxydial.Proxy // SOCKS5 and HTTP, also in front of wss and WEB; of an MTProxy the Server only
	secret mtproxy.Secret  // of an MTProxy or WEB proxy
	server string          // host:port of wss and WEB, empty for the data centres' own hosts
	path   string          // of wss, with its slash; the base path of WEB, without
	weight int             // 0 means 1
}

// HasCredentials reports whether u has a password or a secret, which String leaves
// out.
func (u UpstreamURL) HasCredentials() bool { return u.proxy.User != "" || u.secret.Mode != 0 }

const (
	paramWeight = "weight"
	paramVia    = "via"
	maxWeight   = 1000
)

// ParseUpstreamURL parses an upstream in one of these forms:
//
//	direct
//	socks5://USER:PASSWORD@HOST:PORT        also socks5h, which means the same
//	http://USER:PASSWORD@HOST:PORT          also https
//	tg://proxy?server=HOST&port=PORT&secret=SECRET
//	https://t.me/proxy?server=HOST&port=PORT&secret=SECRET
//	wss                                     the data centres' WebSockets, over TLS
//	wss://HOST:PORT/apiws                   a WebSocket for all of them, or of one
//	tg://webproxy?server=HOST&secret=SECRET also https://t.me/webproxy
//
// User and password are optional. SOCKS5 and HTTP proxies resolve the host names
// of data centres. The last three forms take via=URL, a SOCKS5 or HTTP proxy in front of
// them, as in "wss?via=socks5://HOST:PORT". All forms take a weight from 1, the default, to 1000, as in
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

var errForm = errors.New("want direct, socks5://HOST:PORT, http://HOST:PORT, https://HOST:PORT, wss, wss://HOST/apiws, or a tg://proxy?... or tg://webproxy?... link")

func parseUpstreamURL(text string) (UpstreamURL, error) {
	text = strings.TrimSpace(text)
	if webproxy.IsLink(text) {
		return parseWEBLink(text)
	}
	if mtproxy.IsLink(text) {
		return parseLink(text)
	}
	base, query, _ := strings.Cut(text, "?")
	if isWebSocket(base) {
		return parseWebSocket(base, query)
	}
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
	refuseAllButVia
)

// parseWeight returns the weight parameter of a query, or 0 if it has none.
func parseWeight(query string, others otherParams) (weight int, err error) {
	for param := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(param, "=")
		switch {
		case name == paramVia && others == refuseAllButVia:
			// for parseVia
		case name == paramWeight && weight != 0:
			return 0, errors.New("the weight is given twice")
		case name == paramWeight:
			weight, err = strconv.Atoi(value)
			if err != nil || weight < 1 || weight > maxWeight {
				return 0, fmt.Errorf("the weight is not a number from 1 to %d", maxWeight)
			}
		case others == refuseOthers && param != "":
			return 0, errors.New("the only parameter is weight; in a password write ? as %3F")
		case others == refuseAllButVia && param != "":
			return 0, errors.New("the only parameters are weight and via; in a password write & as %26")
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
	case kindWebSocket:
		return u.webSocketString()
	case kindWEB:
		return u.webString()
	}
	return "direct"
}

// IsMTProxy reports whether the upstream is another MTProxy, reached as such or as a WEB
// proxy.
func (u UpstreamURL) IsMTProxy() bool { return u.kind == kindMTProxy || u.kind == kindWEB }

// Weight returns the share of connections that the upstream takes, from 1.
func (u UpstreamURL) Weight() int { return max(u.weight, 1) }

// addresses returns what to connect to for a data centre with these addresses. An
// MTProxy or WEB proxy has one address for all data centres. There is none if the upstream
// does not lead to the data centre.
func (u UpstreamURL) addresses(dc datacenter.DC, dataCenter []string) []string {
	switch u.kind {
	case kindMTProxy:
		return []string{u.proxy.Server}
	case kindWEB:
		return []string{u.server}
	case kindWebSocket:
		return u.webSocketAddresses(dc)
	}
	return dataCenter
}
