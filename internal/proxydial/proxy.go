// Package proxydial connects through SOCKS5 and HTTP proxies, as a client.
//
//	proxy.go        a proxy's URL, and a dialer through it
//	environment.go  the proxy that the environment's variables name
//	socks5.go, httpconnect.go
//	                the protocols, on a connection to the proxy
package proxydial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/mtwire/mtwire/internal/netx"
)

// The schemes of proxies. An HTTPS proxy is an HTTP proxy behind TLS.
const (
	SOCKS5 = "socks5"
	HTTP   = "http"
	HTTPS  = "https"
)

// maxCredential limits a SOCKS5 user name, and a password, in bytes.
//
// Specification: https://www.rfc-editor.org/rfc/rfc1929#section-2
const maxCredential = 255

// ErrForm means that a text is no URL of a proxy.
var ErrForm = errors.New("want socks5://HOST:PORT, http://HOST:PORT or https://HOST:PORT")

// DialFunc opens a connection, as net.Dialer.DialContext.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Proxy is a SOCKS5 or HTTP proxy. The proxy resolves the host names that it connects
// to. An empty User means no authentication.
type Proxy struct {
	Scheme         string // SOCKS5, HTTP or HTTPS
	Server         string // host:port
	User, Password string
}

// Parse parses the URL of a proxy:
//
//	socks5://USER:PASSWORD@HOST:PORT        also socks5h, which means the same
//	http://USER:PASSWORD@HOST:PORT          also https
//
// User and password are optional. Errors quote nothing of text: any part of a
// mistyped URL may be its password.
func Parse(text string) (Proxy, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return Proxy{}, ErrForm
	}
	p := Proxy{Scheme: strings.TrimSuffix(parsed.Scheme, "h"), Server: parsed.Host}
	switch parsed.Scheme {
	case "socks5", "socks5h", "http", "https":
	default:
		return Proxy{}, ErrForm
	}
	if parsed.Opaque != "" || strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
		return Proxy{}, errors.New("unexpected text after HOST:PORT; in a password write # as %23, / as %2F and ? as %3F")
	}
	if _, _, err := netx.SplitHostPort(p.Server); err != nil {
		return Proxy{}, err
	}
	if err := p.setCredentials(parsed.User); err != nil {
		return Proxy{}, err
	}
	return p, nil
}

func (p *Proxy) setCredentials(info *url.Userinfo) error {
	if info == nil {
		return nil
	}
	p.User = info.Username()
	p.Password, _ = info.Password()
	switch {
	case p.User == "":
		return errors.New("the user before the @ is empty")
	case p.Scheme == SOCKS5 && max(len(p.User), len(p.Password)) > maxCredential:
		return fmt.Errorf("SOCKS5 allows %d bytes for the user and for the password", maxCredential)
	case p.Scheme != SOCKS5 && strings.Contains(p.User, ":"):
		return errors.New("HTTP cannot send a user with a colon")
	}
	return nil
}

// String returns the proxy's URL without credentials.
func (p Proxy) String() string { return p.Scheme + "://" + p.Server }

// Secure returns conn, a connection to p, or TLS on top of it if p is an HTTPS proxy.
// A nil config means the system's roots. On error conn stays open.
func (p Proxy) Secure(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	if p.Scheme != HTTPS {
		return conn, nil
	}
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(p.Server)
	}
	secure := tls.Client(conn, config)
	return secure, secure.HandshakeContext(ctx)
}

// Connect asks p at the other end of conn, which Secure returned, to connect to
// address, a host name or an IP address with a port. From then on conn is the
// connection to address. On error conn stays open.
func (p Proxy) Connect(ctx context.Context, conn net.Conn, address string) error {
	if p.Scheme == SOCKS5 {
		return connectSOCKS5(ctx, conn, p, address)
	}
	return connectHTTP(ctx, conn, p, address)
}

// Dialer returns a DialFunc that connects through p, to which dial connects. config is
// for Secure.
func (p Proxy) Dialer(dial DialFunc, config *tls.Config) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !strings.HasPrefix(network, "tcp") {
			return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
		}
		conn, err := dial(ctx, network, p.Server)
		if err != nil {
			return nil, fmt.Errorf("proxy %v: %w", p, err)
		}
		secure, err := p.Secure(ctx, conn, config)
		if err == nil {
			err = p.Connect(ctx, secure, address)
		}
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("proxy %v: %w", p, err)
		}
		return secure, nil
	}
}
