package netx

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// TakeHost removes the field Host from the header of a request to u and returns it.
// If there is none, it returns u's host, without the port if it is the scheme's
// default, as browsers do. package net/http ignores Host in a header, and would send
// the port.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9110#section-4.2.3
func TakeHost(header http.Header, u *url.URL) string {
	if host := header.Get("Host"); host != "" {
		header.Del("Host")
		return host
	}
	defaults := map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}
	if host, port, err := net.SplitHostPort(u.Host); err == nil && port == defaults[u.Scheme] {
		if strings.Contains(host, ":") {
			return "[" + host + "]"
		}
		return host
	}
	return u.Host
}
