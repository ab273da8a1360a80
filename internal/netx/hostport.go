package netx

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SplitHostPort splits host:port, as net.SplitHostPort does, and checks both: the host
// is not empty, is UTF-8 and has no characters that are invalid in every host name, and the
// port is a number from 1 to 65535. Errors do not quote address, which may be a mistyped URL
// with a password in it.
func SplitHostPort(address string) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil || host == "" || digits == "" {
		return "", 0, errors.New("want host:port, with an IPv6 address in brackets")
	}
	if !IsHost(host) {
		return "", 0, ErrHost
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return "", 0, errors.New("the port is not a number from 1 to 65535")
	}
	return host, uint16(n), nil
}

// ErrHost means that a text is no host: see IsHost.
var ErrHost = errors.New("the host has a character that no host name has")

// IsHost reports whether text may be a host: an IP address, or a name of letters, digits, - . and _,
// in ASCII or not. A mistyped secret often has other characters.
func IsHost(text string) bool {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool {
		return r == ' ' || r == '/' || r == '@' || r == utf8.RuneError || !unicode.IsPrint(r)
	}) {
		return false
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		isName := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r)
		return r < utf8.RuneSelf && !isName
	})
}

// UnixPrefix begins the address of a Unix socket.
const UnixPrefix = "unix:"

// SplitNetwork splits host:port or unix:/PATH into the network and the address to
// dial, and checks both: host:port as SplitHostPort does, and the path, which must
// be absolute. Errors quote nothing of text.
func SplitNetwork(text string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(text, UnixPrefix); ok {
		if !filepath.IsAbs(path) {
			return "", "", errors.New("want an absolute path, unix:/PATH")
		}
		return "unix", path, nil
	}
	if _, _, err := SplitHostPort(text); err != nil {
		return "", "", err
	}
	return "tcp", text, nil
}
