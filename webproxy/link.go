package webproxy

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/mtwire/mtwire/internal/tglink"
	"github.com/mtwire/mtwire/mtproxy"
)

// Limits of a link, which every app checks.
const (
	maxHostLength  = 253
	maxLabelLength = 63
	maxPathLength  = 128
)

const (
	keyLength   = 16
	markedByte  = 0x70 // first byte of the secret of a link with a path
	paddedByte  = 0xdd
	fakeTLSByte = 0xee
)

// Link is a WEB proxy link: the host name and the base path of a relay, and a
// user's secret. The port is always 443, and the carrier always HTTPS.
//
//	tg://webproxy?server=HOST&secret=SECRET
//	tg://webproxy?server=HOST%2FPATH&secret=SECRET
//	https://t.me/webproxy?...
//
// The secret of a link with a path is base64url of 0x70 and the secret's bytes:
// apps that know no paths refuse it, and do not use the host alone.
//
// A link is a bearer credential. String and HTTPS include the secret; Redacted
// and LogValue do not. Errors quote nothing of the secret. Links can be compared
// with ==.
//
// Source: Telegram Desktop, Telegram/SourceFiles/mtproto/mtproto_proxy_data.cpp
type Link struct {
	// Host is a host name in lower-case ASCII (xn-- for international names) with
	// at least one dot. It is no IP address.
	Host string

	// Path is the base path without outer slashes, such as "a/b", or empty. Its
	// segments begin with a letter or digit, and have letters, digits, "-" and
	// "_". It is case-sensitive.
	Path string

	// Secret is plain or padded; apps refuse FakeTLS, which has no TLS to imitate
	// here.
	Secret mtproxy.Secret
}

// ParseLink parses both forms of a link. It also accepts "tg:webproxy?", "http",
// and the hosts telegram.me and telegram.dog. Scheme and host may be in any case;
// the host name is lower-cased. The first parameter of each name counts, unknown
// ones and the fragment are ignored, and "host" is read if there is no "server".
// The text may be as it was copied from a message: see mtproxy.TrimPasted. An error does not
// quote the secret.
func ParseLink(text string) (Link, error) {
	query, err := splitLink(text)
	if err != nil {
		return Link{}, err
	}
	fields, err := tglink.Fields(query, "server", "host", "port", "secret")
	if err != nil {
		return Link{}, fmt.Errorf("bad WEB proxy link: %w", err)
	}
	server, ok := fields["server"]
	if !ok {
		server, ok = fields["host"]
	}
	if !ok {
		return Link{}, errors.New("bad WEB proxy link: no server")
	}
	if port, ok := fields["port"]; ok && port != "443" {
		return Link{}, errors.New("bad WEB proxy link: a port other than 443, which apps do not use")
	}
	var l Link
	host, path, _ := strings.Cut(server, "/")
	l.Host, l.Path = strings.ToLower(host), strings.TrimSuffix(path, "/")
	secret, ok := fields["secret"]
	if !ok {
		return Link{}, errors.New("bad WEB proxy link: no secret")
	}
	var marked bool
	if l.Secret, marked, err = parseSecret(secret); err != nil {
		return Link{}, err
	}
	if l.Path != "" && !marked {
		return Link{}, errors.New("bad WEB proxy link: a path, but the secret is not base64url with 0x70 in front and without = (such secrets begin with c)")
	}
	if err := l.Check(); err != nil {
		return Link{}, err
	}
	return l, nil
}

// IsLink reports whether text is a WEB proxy link, valid or not, rather than
// another link or an address.
func IsLink(text string) bool {
	_, err := splitLink(text)
	return err == nil
}

// splitLink returns the query of a WEB proxy link.
func splitLink(text string) (query string, err error) {
	name, query, err := tglink.Split(mtproxy.TrimPasted(text))
	switch {
	case err == nil && name == "webproxy":
		return query, nil
	case err == nil && name == "proxy":
		return "", errors.New("unsupported link: an MTProxy link, not a WEB proxy link")
	case err == nil && name == "socks":
		return "", errors.New("unsupported link: a SOCKS5 link, not a WEB proxy link")
	}
	return "", errors.New("bad WEB proxy link: want a tg://webproxy?... or https://t.me/webproxy?... link")
}

// parseSecret parses 32 or 34 hexadecimal digits, or base64url, and reports
// whether the secret is marked for a path. A marked one is base64url without
// "=".
func parseSecret(text string) (s mtproxy.Secret, marked bool, err error) {
	b, err := hex.DecodeString(text)
	if isHex := err == nil && len(b) >= keyLength && (len(b) <= keyLength+1 || b[0] == fakeTLSByte); !isHex {
		digits := strings.TrimRight(text, "=")
		if len(text)-len(digits) > 2 {
			return s, false, errors.New("bad WEB proxy link: secret with more than two = at its end")
		}
		if strings.ContainsAny(digits, "\r\n") {
			return s, false, errors.New("bad WEB proxy link: secret is neither hexadecimal nor base64url")
		}
		b, err = base64.RawURLEncoding.Strict().DecodeString(digits)
		if err != nil {
			return s, false, errors.New("bad WEB proxy link: secret is neither hexadecimal nor base64url")
		}
		if len(b) > keyLength && b[0] == markedByte {
			b, marked = b[1:], len(digits) == len(text)
		}
	}
	switch {
	case len(b) > keyLength && b[0] == fakeTLSByte:
		return s, false, errFakeTLS
	case len(b) == keyLength, len(b) == keyLength+1 && b[0] == paddedByte:
	default:
		return s, false, errors.New("bad WEB proxy link: secret is not a key of 16 bytes, with or without dd in front")
	}
	s, err = mtproxy.ParseSecretBytes(b)
	if err != nil {
		return s, false, fmt.Errorf("bad WEB proxy link: %w", err)
	}
	return s, marked, nil
}

var errFakeTLS = errors.New("bad WEB proxy link: an ee secret, which WEB proxies do not have; use its key with dd in front or alone")

// Check returns an error unless apps accept l. ParseLink returns valid links
// only.
func (l Link) Check() error {
	if err := CheckHost(l.Host); err != nil {
		return err
	}
	if err := CheckPath(l.Path); err != nil {
		return err
	}
	switch l.Secret.Mode {
	case mtproxy.Plain, mtproxy.Padded:
		if l.Secret.Domain != "" {
			return errors.New("bad WEB proxy link: a secret with a domain")
		}
		return nil
	case mtproxy.FakeTLS:
		return errFakeTLS
	}
	return errors.New("bad WEB proxy link: no secret")
}

// CheckHost returns an error unless host can be a WEB proxy's: a lower-case host
// name in ASCII with a dot, without a port, and no IP address in any spelling.
func CheckHost(host string) error {
	switch {
	case host == "":
		return errors.New("bad WEB proxy host: empty")
	case len(host) > maxHostLength:
		return fmt.Errorf("bad WEB proxy host: %d bytes, want at most %d", len(host), maxHostLength)
	case strings.Contains(host, ":"):
		return errors.New("bad WEB proxy host: a colon; a WEB proxy has no port but 443, and no IPv6 address")
	case strings.HasSuffix(host, "."):
		return errors.New("bad WEB proxy host: a dot at its end")
	}
	labels := strings.Split(host, ".")
	if len(labels) < 2 {
		return errors.New("bad WEB proxy host: no dot in it, want a name such as proxy.example.org")
	}
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	// Parsers of URLs take a name for an IPv4 address if its last label is a number.
	// Specification: https://url.spec.whatwg.org/#ends-in-a-number-checker
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" ||
		strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return errors.New("bad WEB proxy host: an IP address; apps need a host name")
	}
	return nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("bad WEB proxy host: an empty label")
	case len(label) > maxLabelLength:
		return fmt.Errorf("bad WEB proxy host: a label of %d bytes, want at most %d", len(label), maxLabelLength)
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("bad WEB proxy host: a label begins or ends with -")
	}
	for i := range len(label) {
		switch c := label[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		case 'A' <= c && c <= 'Z':
			return errors.New("bad WEB proxy host: an upper-case letter; its lower-case form is what apps use")
		case c >= 0x80:
			return errors.New("bad WEB proxy host: not ASCII; international names go in as xn--")
		default:
			return fmt.Errorf("bad WEB proxy host: %q does not belong in a host name", c)
		}
	}
	return nil
}

// CheckPath returns an error unless path can be a WEB proxy's base path: empty,
// or segments without outer slashes.
func CheckPath(path string) error {
	switch {
	case path == "":
		return nil
	case len(path) > maxPathLength:
		return fmt.Errorf("bad WEB proxy path: %d bytes, want at most %d", len(path), maxPathLength)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			return errors.New("bad WEB proxy path: an empty segment")
		}
		for i := range len(segment) {
			switch c := segment[i]; {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			case i > 0 && (c == '-' || c == '_'):
			default:
				return fmt.Errorf("bad WEB proxy path: %q, want segments of letters, digits, - and _ that begin with a letter or digit", c)
			}
		}
	}
	return nil
}

// query returns the parameters. The secret is in hexadecimal, or marked base64url
// if there is a path.
func (l Link) query() string {
	if l.Path == "" {
		return "server=" + l.Host + "&secret=" + l.Secret.String()
	}
	marked := append([]byte{markedByte}, l.Secret.Bytes()...)
	return "server=" + l.Host + url.QueryEscape("/"+l.Path) + "&secret=" + base64.RawURLEncoding.EncodeToString(marked)
}

// String returns the link as tg://webproxy?..., which opens the app. The link
// includes the secret. ParseLink returns an equal Link for it, if l is valid.
func (l Link) String() string { return "tg://webproxy?" + l.query() }

// HTTPS returns the link as https://t.me/webproxy?..., which also opens in a
// browser. The link includes the secret. ParseLink returns an equal Link for it,
// if l is valid.
func (l Link) HTTPS() string { return "https://t.me/webproxy?" + l.query() }

// Base returns the path of the relay's page, "/" or "/PATH/". All others of the
// relay begin with it.
func (l Link) Base() string { return basePath(l.Path) }

func basePath(path string) string {
	if path == "" {
		return "/"
	}
	return "/" + path + "/"
}

// Redacted returns the part of the link that may be logged: its URL without the
// capability, and the redacted secret.
func (l Link) Redacted() string { return "https://" + l.Host + l.Base() + " " + l.Secret.Redacted() }

// LogValue returns Redacted, which keeps the secret out of structured logs.
func (l Link) LogValue() slog.Value { return slog.StringValue(l.Redacted()) }
