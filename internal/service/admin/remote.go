package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Remote is a server over TCP.
type Remote struct{ base *url.URL }

// ParseRemote parses the URL of a server: http://HOST:PORT, or https:// for one with a web
// server in front, which may have a path. Errors quote no password.
func ParseRemote(text string) (Remote, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Opaque != "":
		return Remote{}, errors.New("bad URL: want http://HOST:PORT or https://HOST[:PORT]")
	case u.User != nil:
		return Remote{}, errors.New("bad URL: it must not have a user or password; the token is in a file")
	case u.RawQuery != "" || u.Fragment != "":
		return Remote{}, errors.New("bad URL: it must not have a ? or #")
	case u.Scheme == "http" && u.Port() == "":
		return Remote{}, errors.New("bad URL: the port is missing, as in http://127.0.0.1:9100")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return Remote{u}, nil
}

// IsRemote reports whether text is meant as the URL of a server, and not as a path.
func IsRemote(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// String returns the URL.
func (r Remote) String() string { return r.base.String() }

// IsOpen reports whether the token is sent to another machine without encryption.
func (r Remote) IsOpen() bool {
	ip, err := netip.ParseAddr(r.base.Hostname())
	return r.base.Scheme == "http" && r.base.Hostname() != "localhost" && (err != nil || !ip.Unmap().IsLoopback())
}

// connectTimeout limits how long it takes to connect to a server over TCP.
const connectTimeout = 5 * time.Second

// NewRemoteClient returns a client of a server over TCP, which sends the token with each
// request, to that server only: there is no proxy between, and redirects are not followed.
func NewRemoteClient(r Remote, token string) *Client {
	dialer := &net.Dialer{Timeout: connectTimeout}
	return &Client{
		transport: &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTimeout, DisableKeepAlives: true},
		base:      r.base.String(), token: token,
	}
}

// Check asks the server for its version, and returns an error that tells what to do if it
// does not answer, or the token is another one.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.Do(ctx, http.MethodGet, "/v1/version", nil, "")
	switch {
	case IsProblem(err, http.StatusUnauthorized):
		return fmt.Errorf("%s: the token is not that of the proxy's --admin-token-file or $MTWIRE_ADMIN_TOKEN", c.base)
	case err != nil:
		return fmt.Errorf("%s: %w", c.base, err)
	}
	return nil
}
