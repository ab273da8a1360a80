package route

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
)

// kind is what an upstream speaks.
type kind uint8

const (
	direct kind = iota
	socks5
	httpProxy
	httpsProxy
	kindMTProxy
)

// Upstream is a way out: straight, through a SOCKS5 or HTTP proxy, or to
// another MTProxy. The zero value is the direct way with weight 1. Read one
// with ParseUpstream.
type Upstream struct {
	kind           kind
	server         string // host:port
	user, password string // of SOCKS5 and HTTP; user is empty if there is none
	secret         mtproxy.Secret
	share          int // the weight; 0 means 1
}

const (
	paramWeight = "weight"
	maxWeight   = 1000

	// maxCredential is how many bytes of a user name, and of a password, SOCKS5
	// has room for: RFC 1929, section 2.
	maxCredential = 255
)

// ParseUpstream reads an upstream in one of these forms:
//
//	direct
//	socks5://USER:PASSWORD@HOST:PORT        also socks5h, which means the same
//	http://USER:PASSWORD@HOST:PORT          also https
//	tg://proxy?server=HOST&port=PORT&secret=SECRET
//	https://t.me/proxy?server=HOST&port=PORT&secret=SECRET
//
// User and password may be left out. Names of data centres are left to SOCKS5
// and HTTP proxies to look up. All forms take a parameter weight, from 1 to
// 1000, as in "direct?weight=3": how many connections go that way for each one
// that goes by an upstream of weight 1, which is the default.
//
// Errors say what is wrong and quote nothing of the text: what looks like one
// part of a mistyped URL may be its password.
func ParseUpstream(text string) (Upstream, error) {
	u, err := parseUpstream(text)
	if err != nil {
		return Upstream{}, fmt.Errorf("bad upstream: %w", err)
	}
	return u, nil
}

var errForm = errors.New("want direct, socks5://HOST:PORT, http://HOST:PORT, https://HOST:PORT or a tg://proxy?... link")

func parseUpstream(text string) (Upstream, error) {
	if mtproxy.IsLink(text) {
		return parseLink(text)
	}
	place, query, _ := strings.Cut(text, "?")
	share, err := parseWeight(query, true)
	if err != nil {
		return Upstream{}, err
	}
	if strings.EqualFold(place, "direct") {
		return Upstream{share: share}, nil
	}
	parsed, err := url.Parse(place)
	if err != nil {
		return Upstream{}, errForm
	}
	u := Upstream{server: parsed.Host, share: share}
	switch parsed.Scheme {
	case "socks5", "socks5h":
		u.kind = socks5
	case "http":
		u.kind = httpProxy
	case "https":
		u.kind = httpsProxy
	default:
		return Upstream{}, errForm
	}
	if parsed.Opaque != "" || strings.Trim(parsed.Path, "/") != "" || parsed.Fragment != "" {
		return Upstream{}, errors.New("something stands behind HOST:PORT; a # or / in a password is written %23 or %2F, a ? is %3F")
	}
	if err := checkAddress(u.server); err != nil {
		return Upstream{}, err
	}
	return u, u.setCredentials(parsed.User)
}

func (u *Upstream) setCredentials(info *url.Userinfo) error {
	if info == nil {
		return nil
	}
	u.user = info.Username()
	u.password, _ = info.Password()
	switch {
	case u.user == "":
		return errors.New("no user in front of the @")
	case u.kind == socks5 && max(len(u.user), len(u.password)) > maxCredential:
		return fmt.Errorf("SOCKS5 has room for %d bytes of user and of password", maxCredential)
	case u.kind != socks5 && strings.Contains(u.user, ":"):
		return errors.New("HTTP has no way to send a user with a colon")
	}
	return nil
}

func parseLink(text string) (Upstream, error) {
	link, err := mtproxy.ParseLink(text)
	if err != nil {
		return Upstream{}, err
	}
	text, _, _ = strings.Cut(text, "#")
	_, query, _ := strings.Cut(text, "?")
	share, err := parseWeight(query, false)
	if err != nil {
		return Upstream{}, err
	}
	return Upstream{kind: kindMTProxy, server: link.Addr(), secret: link.Secret, share: share}, nil
}

// parseWeight reads the weight from a query, 0 if it has none. If the query is
// ours, it may have no other parameter; a link's may have any.
func parseWeight(query string, ours bool) (weight int, err error) {
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
		case ours && param != "":
			return 0, errors.New("the only parameter is weight; a ? in a password is written %3F")
		}
	}
	return weight, nil
}

// String returns the upstream without credentials and weight, for logs:
// "direct", "socks5://127.0.0.1:1080", or an MTProxy's address and the redacted
// secret.
func (u Upstream) String() string {
	switch u.kind {
	case socks5:
		return "socks5://" + u.server
	case httpProxy:
		return "http://" + u.server
	case httpsProxy:
		return "https://" + u.server
	case kindMTProxy:
		return "mtproxy " + u.server + " " + u.secret.Redacted()
	}
	return "direct"
}

func (u Upstream) weight() int { return max(u.share, 1) }

// addresses is what there is to connect to for a data centre with those
// addresses: an MTProxy finds them by itself.
func (u Upstream) addresses(ofDataCenter []string) []string {
	if u.kind == kindMTProxy {
		return []string{u.server}
	}
	return ofDataCenter
}
