package proxydial

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/proxy"
)

// defaultPorts are the ports of proxies that are named without one.
var defaultPorts = map[string]string{SOCKS5: "1080", SOCKS5 + "h": "1080", HTTP: "80", HTTPS: "443"}

// Environment returns a DialFunc that connects through the proxy that HTTPS_PROXY names
// or, without it, ALL_PROXY; and directly, with dial, to loopback addresses and to what
// NO_PROXY lists: host names, which stand for their subdomains too, IP addresses,
// prefixes like 10.0.0.0/8, or * for everything. The names may be in small letters.
// Without a proxy, Environment returns dial. A value without a scheme is an HTTP
// proxy's. config is for HTTPS proxies. The variables are read once.
func Environment(dial DialFunc, config *tls.Config) (DialFunc, error) {
	name, text := variable("HTTPS_PROXY")
	if text == "" {
		name, text = variable("ALL_PROXY")
	}
	if text == "" {
		return dial, nil
	}
	p, err := Parse(complete(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	hosts := proxy.NewPerHost(dialer(p.Dialer(dial, config)), dialer(dial))
	hosts.AddFromString("localhost, 127.0.0.0/8, ::1")
	_, excepted := variable("NO_PROXY")
	for host := range strings.SplitSeq(excepted, ",") {
		if host = strings.TrimSpace(host); host == "*" {
			return dial, nil
		}
		except(hosts, host)
	}
	return hosts.DialContext, nil
}

// except adds one element of NO_PROXY to the hosts that are dialled directly.
func except(hosts *proxy.PerHost, host string) {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		hosts.AddIP(ip.AsSlice())
		return
	}
	if _, prefix, err := net.ParseCIDR(host); err == nil {
		hosts.AddNetwork(prefix)
		return
	}
	if host = strings.TrimLeft(host, "*."); host != "" {
		hosts.AddHost(host)
		hosts.AddZone(host)
	}
}

// variable returns an environment variable that may be in small letters.
func variable(name string) (found, value string) {
	for _, found = range []string{name, strings.ToLower(name)} {
		if value = os.Getenv(found); value != "" {
			return found, value
		}
	}
	return name, ""
}

// complete adds the scheme and the port that text leaves out.
func complete(text string) string {
	if !strings.Contains(text, "://") {
		text = HTTP + "://" + text
	}
	u, err := url.Parse(text)
	if err == nil && u.Hostname() != "" && u.Port() == "" && defaultPorts[u.Scheme] != "" {
		u.Host = net.JoinHostPort(u.Hostname(), defaultPorts[u.Scheme])
		return u.String()
	}
	return text
}

// dialer is a DialFunc as package proxy's dialers.
type dialer DialFunc

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d(context.Background(), network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}
