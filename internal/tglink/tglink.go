// Package tglink splits Telegram's links: tg://NAME?PARAMETERS, and
// https://t.me/NAME?PARAMETERS with its other hosts. It does no I/O.
//
// Errors quote nothing of a link: in a mistyped one, any part may be the secret.
//
// Specification: https://core.telegram.org/api/links
package tglink

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ErrNoScheme means that a text has neither a scheme nor a host of Telegram's in front.
var ErrNoScheme = errors.New("no scheme")

// Split returns the name of a link in lower case, such as "proxy", and its query. It
// also accepts "tg:NAME" and "http", and a link that begins with the host. Scheme and
// host may be in any case. The fragment is dropped.
func Split(text string) (name, query string, err error) {
	text, _, _ = strings.Cut(text, "#")
	prefix, query, _ := strings.Cut(text, "?")
	scheme, path, ok := strings.Cut(WithScheme(strings.ToLower(prefix)), ":")
	if !ok {
		return "", "", ErrNoScheme
	}
	path, slashes := strings.CutPrefix(path, "//")
	switch scheme {
	case "tg":
	case "http", "https":
		if !slashes {
			return "", "", errors.New("no // behind the scheme")
		}
		var host string
		host, path, _ = strings.Cut(path, "/")
		if !IsHost(host) {
			return "", "", errors.New("host is not t.me, telegram.me or telegram.dog")
		}
	default:
		return "", "", errors.New("scheme is not tg, https or http")
	}
	return strings.TrimSuffix(path, "/"), query, nil
}

// WithScheme adds the scheme to a link that was written without it, such as
// t.me/proxy?server=….
func WithScheme(link string) string {
	host, _, path := strings.Cut(link, "/")
	if path && IsHost(strings.ToLower(host)) {
		return "https://" + link
	}
	return link
}

// IsHost reports whether a host name in lower case is one of Telegram's for links.
func IsHost(host string) bool {
	return host == "t.me" || host == "telegram.me" || host == "telegram.dog"
}

// Fields returns the parameters with the given names. It is url.ParseQuery with three
// differences: the first value of a name wins, a semicolon is an ordinary character, and
// errors do not quote the value.
func Fields(query string, names ...string) (map[string]string, error) {
	fields := make(map[string]string)
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		if _, seen := fields[name]; seen || !slices.Contains(names, name) {
			continue
		}
		plain, err := url.QueryUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("%s has a %% without two hexadecimal digits behind it", name)
		}
		fields[name] = plain
	}
	return fields, nil
}
