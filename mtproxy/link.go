package mtproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mtwire/mtwire/internal/tglink"
)

// Link is an MTProxy link: the address of a proxy, and its secret.
//
//	tg://proxy?server=HOST&port=PORT&secret=SECRET
//	https://t.me/proxy?server=HOST&port=PORT&secret=SECRET
//
// A link is a bearer credential: its possession is all that a client needs to
// use the proxy. String and HTTPS include the secret; Redacted and LogValue do
// not. Errors quote nothing of the secret.
//
// Links can be compared with ==.
//
// Specification: https://core.telegram.org/api/links#mtproxy-links
type Link struct {
	Server string // host name or IP address, an IPv6 address without brackets
	Port   uint16
	Secret Secret
}

// maxServerLength is TDLib's limit on the length of Server, in bytes.
const maxServerLength = 255

// ParseLink parses both forms of a link. It also accepts "tg:proxy?", "http" and
// the hosts telegram.me and telegram.dog. Scheme and host may be in any case.
// Parameters may be in any order; the first of each name counts. Unknown
// parameters and the fragment are ignored. If there is no "server", ParseLink
// uses "host". A link may be as it was copied from a text: see TrimPasted. It may
// begin with the host. An error does not quote the secret.
func ParseLink(text string) (Link, error) {
	name, query, err := tglink.Split(TrimPasted(text))
	if err == tglink.ErrNoScheme {
		return Link{}, fmt.Errorf("bad proxy link: %w, want a tg://proxy?... or https://t.me/proxy?... link", err)
	} else if err != nil {
		return Link{}, fmt.Errorf("bad proxy link: %w", err)
	}
	if err := checkName(name); err != nil {
		return Link{}, err
	}
	fields, err := tglink.Fields(query, "server", "host", "port", "secret")
	if err != nil {
		return Link{}, fmt.Errorf("bad proxy link: %w", err)
	}
	var l Link
	if l.Server, err = parseServer(fields); err != nil {
		return Link{}, err
	}
	if l.Port, err = parsePort(fields); err != nil {
		return Link{}, err
	}
	secret, ok := fields["secret"]
	if !ok {
		return Link{}, errors.New("bad proxy link: no secret")
	}
	// In a query, an unescaped plus sign of base64 means a space. Secrets have no
	// spaces, so every space was a plus sign.
	l.Secret, err = ParseSecret(strings.ReplaceAll(secret, " ", "+"))
	if err != nil {
		return Link{}, fmt.Errorf("bad proxy link: %w", err)
	}
	return l, nil
}

// IsLink reports whether text is a Telegram link, of an MTProxy or of something
// else, rather than the address of a server. It returns true for every text that
// ParseLink accepts.
func IsLink(text string) bool {
	scheme, rest, _ := strings.Cut(strings.ToLower(tglink.WithScheme(TrimPasted(text))), ":")
	switch scheme {
	case "tg":
		return true
	case "http", "https":
		host, _, path := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
		return path && tglink.IsHost(host)
	}
	return false
}

// checkName checks the name of a link. Its errors do not quote it: in a mistyped link it
// may contain the secret.
func checkName(name string) error {
	switch name {
	case "proxy":
		return nil
	case "socks":
		return errors.New("unsupported link: a SOCKS5 link, not an MTProxy link")
	case "webproxy":
		return errors.New("unsupported link: a WEB proxy link, not an MTProxy link")
	}
	return errors.New("bad proxy link: want a tg://proxy?... or https://t.me/proxy?... link")
}

func parseServer(fields map[string]string) (string, error) {
	server, ok := fields["server"]
	if !ok {
		server, ok = fields["host"]
	}
	switch {
	case !ok:
		return "", errors.New("bad proxy link: no server")
	case server == "":
		return "", errors.New("bad proxy link: server is empty")
	case len(server) > maxServerLength:
		return "", fmt.Errorf("bad proxy link: server of %d bytes, want at most %d", len(server), maxServerLength)
	case !utf8.ValidString(server):
		return "", errors.New("bad proxy link: server is not UTF-8")
	case strings.ContainsFunc(server, notHostRune):
		return "", errors.New("bad proxy link: server has a space, a slash, an unprintable character, or another that no host name has")
	}
	if inner, ok := strings.CutPrefix(server, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		if ip, err := netip.ParseAddr(inner); !closed || err != nil || !ip.Is6() {
			return "", errors.New("bad proxy link: server has brackets, but no IPv6 address in them")
		}
		return inner, nil
	}
	if strings.Contains(server, ":") {
		if _, err := netip.ParseAddr(server); err != nil {
			return "", errors.New("bad proxy link: server has a colon, but is no IPv6 address (the port goes into port=)")
		}
	}
	return server, nil
}

// notHostRune reports whether r occurs in no host name of any script and in no IP
// address. Without such characters a server is safe to print on a terminal.
func notHostRune(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsPunct(r) || unicode.IsSymbol(r)) && !strings.ContainsRune("-._:[]%", r) ||
		r == ' ' || !unicode.IsPrint(r)
}

func parsePort(fields map[string]string) (uint16, error) {
	text, ok := fields["port"]
	if !ok {
		return 0, errors.New("bad proxy link: no port")
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("bad proxy link: port is not a number from 1 to 65535")
	}
	return uint16(port), nil
}

// query returns the parameters in the official clients' order. The secret is in
// hexadecimal: base64 would need escapes that older clients do not undo.
func (l Link) query() string {
	return "server=" + url.QueryEscape(l.Server) +
		"&port=" + strconv.Itoa(int(l.Port)) +
		"&secret=" + l.Secret.String()
}

// String returns the link as tg://proxy?..., which opens the app. The link
// includes the secret. ParseLink returns an equal Link for it.
func (l Link) String() string { return "tg://proxy?" + l.query() }

// HTTPS returns the link as https://t.me/proxy?..., which also opens in a
// browser. The link includes the secret. ParseLink returns an equal Link for it.
func (l Link) HTTPS() string { return "https://t.me/proxy?" + l.query() }

// Addr returns "server:port", in the form that net.Dial accepts.
func (l Link) Addr() string {
	return net.JoinHostPort(l.Server, strconv.Itoa(int(l.Port)))
}

// Redacted returns the part of the link that may be logged: Addr and the
// redacted secret.
func (l Link) Redacted() string { return l.Addr() + " " + l.Secret.Redacted() }

// LogValue returns Redacted, which keeps the secret out of structured logs.
func (l Link) LogValue() slog.Value { return slog.StringValue(l.Redacted()) }
