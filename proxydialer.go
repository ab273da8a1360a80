package mtwire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/mtwire/mtwire/internal/proxydial"
)

// DialFunc opens a connection, as net.Dialer.DialContext. It is the type of
// DialConfig.DialContext.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// ProxyConfig configures ProxyDialer and EnvironmentDialer. A nil config is a config of
// zeros.
type ProxyConfig struct {
	// DialContext opens the TCP connection to the proxy and, for EnvironmentDialer,
	// those that go to no proxy. Nil means a net.Dialer.
	DialContext DialFunc

	// TLS is for HTTPS proxies. ServerName defaults to the proxy's host. Nil means the
	// system's roots.
	TLS *tls.Config
}

func (config *ProxyConfig) orDefault() ProxyConfig {
	c := ProxyConfig{}
	if config != nil {
		c = *config
	}
	if c.DialContext == nil {
		c.DialContext = new(net.Dialer).DialContext
	}
	return c
}

// ProxyDialer returns a DialConfig.DialContext that connects through a SOCKS5 proxy, or
// through an HTTP proxy with CONNECT:
//
//	socks5://USER:PASSWORD@HOST:PORT        also socks5h, which means the same
//	http://USER:PASSWORD@HOST:PORT          also https, for TLS to the proxy
//
// User and password are optional. The proxy resolves host names. No error quotes a
// user or a password. The DialFunc may be called concurrently; its context applies to
// the connection to the proxy and the exchange with it.
func ProxyDialer(proxyURL string, config *ProxyConfig) (DialFunc, error) {
	p, err := proxydial.Parse(proxyURL)
	if err != nil {
		return nil, fmt.Errorf("bad proxy: %w", err)
	}
	c := config.orDefault()
	return p.Dialer(c.DialContext, c.TLS), nil
}

// EnvironmentDialer returns a DialConfig.DialContext that connects through the proxy
// that the environment names, as ProxyDialer does: HTTPS_PROXY or, without it,
// ALL_PROXY. A proxy without a scheme is an HTTP proxy. Without either variable, it
// connects directly.
//
// It connects directly to loopback addresses, and to those that NO_PROXY lists,
// separated by commas: host names, which stand for their subdomains too, IP addresses,
// prefixes such as 10.0.0.0/8, or * for all. The names of the variables may be in small
// letters. They are read once, by EnvironmentDialer: the error is about what they have, and
// does not quote the proxy's password.
func EnvironmentDialer(config *ProxyConfig) (DialFunc, error) {
	c := config.orDefault()
	dial, err := proxydial.Environment(c.DialContext, c.TLS)
	if err != nil {
		return nil, fmt.Errorf("bad proxy: %w", err)
	}
	return dial, nil
}
