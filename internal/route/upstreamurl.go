package route

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
)

// kind is an upstream's protocol.
type kind uint8

const (
	kindDirect kind = iota
	kindSOCKS5
	kindHTTP
	kindHTTPS
	kindMTProxy
)

// UpstreamURL is a configured upstream: direct, a SOCKS5 or HTTP proxy, or
// another MTProxy. The zero value is direct with weight 1. ParseUpstreamURL
// returns the others.
type UpstreamURL struct {
	kind           kind
	server         string // host:port
	user, password string // of SOCKS5 and HTTP; an empty user means no authentication
	secret         mtproxy.Secret
	weight         int // 0 means 1
}

// HasCredentials reports whether u has a password or a secret, which String leaves
// out.
func (u UpstreamURL) HasCredentials() bool { return u.user != "" || u.secret.Mode != 0 }

const (
	paramWeight = "weight"
	maxWeight   = 1000

	// maxCredential limits a SOCKS5 user name, and a password, in bytes.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc1929#section-2
	maxCredential = 255
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
	parsed, err := url.Parse(base)
	if err != nil {
		return UpstreamURL{}, errForm
	}
	u := UpstreamURL{server: parsed.Host, weight: weight}
	switch parsed.Scheme {
	case "socks5", "socks5h":
		u.kind = kindSOCKS5
	case "http":
		u.kind = kindHTTP
	case "https":
		u.kind = kindHTTPS
	default:
		return UpstreamURL{}, errForm
	}
	if parsed.Opaque != "" || strings.Trim(parsed.Path, "/") != "" || parsed.Fragment != "" {
		return UpstreamURL{}, errors.New("unexpected text after HOST:PORT; in a password write # as %23, / as %2F and ? as %3F")
	}
	if _, _, err := netx.SplitHostPort(u.server); err != nil {
		return UpstreamURL{}, err
	}
	err = u.setCredentials(parsed.User)
	return u, err
}

func (u *UpstreamURL) setCredentials(info *url.Userinfo) error {
	if info == nil {
		return nil
	}
	u.user = info.Username()
	u.password, _ = info.Password()
	switch {
	case u.user == "":
		return errors.New("the user before the @ is empty")
	case u.kind == kindSOCKS5 && max(len(u.user), len(u.password)) > maxCredential:
		return fmt.Errorf("SOCKS5 allows %d bytes for the user and for the password", maxCredential)
	case u.kind != kindSOCKS5 && strings.Contains(u.user, ":"):
		return errors.New("HTTP cannot send a user with a colon")
	}
	return nil
}

func parseLink(text string) (UpstreamURL, error) {
	link, err := mtproxy.ParseLink(text)
	if err != nil {
		return UpstreamURL{}, err
	}
	text, _, _ = strings.Cut(text, "#")
	_, query, _ := strings.Cut(text, "?")
	weight, err := parseWeight(query, ignoreOthers)
	if err != nil {
		return UpstreamURL{}, err
	}
	return UpstreamURL{kind: kindMTProxy, server: link.Addr(), secret: link.Secret, weight: weight}, nil
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
	case kindSOCKS5:
		return "socks5://" + u.server
	case kindHTTP:
		return "http://" + u.server
	case kindHTTPS:
		return "https://" + u.server
	case kindMTProxy:
		return "mtproxy " + u.server + " " + u.secret.Redacted()
	}
	return "direct"
}

func (u UpstreamURL) effectiveWeight() int { return max(u.weight, 1) }

// addresses returns what to connect to for a data centre with these addresses. An
// MTProxy has one address for all data centres.
func (u UpstreamURL) addresses(dataCenter []string) []string {
	if u.kind == kindMTProxy {
		return []string{u.server}
	}
	return dataCenter
}
