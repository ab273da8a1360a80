package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/browser"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxydial"
	"github.com/mtwire/mtwire/internal/wsstream"
)

// Data centres have WebSockets for browsers, whose bytes are those of an obfuscated
// connection over TCP. On the wire they are TLS to a host below web.telegram.org.
//
// Specification: https://core.telegram.org/mtproto/transports#uri-format

const (
	webSocketScheme = "wss"
	webSocketPort   = "443"

	// telegramDomain has the hosts NAME and NAME-1, and those of Telegram's own web
	// client, kwsN and kwsN-1.
	telegramDomain = ".web.telegram.org"
	telegramOrigin = "https://web.telegram.org"

	telegramPath = "/apiws"
	// testSuffix is what the path of the test environment ends with.
	testSuffix = "_test"

	// maxPath limits a configured path, in bytes.
	maxPath = 1024
)

// isWebSocket reports whether an upstream's text, without its query, is wss or a URL of
// that scheme.
func isWebSocket(base string) bool {
	scheme, _, _ := strings.Cut(base, ":")
	return strings.EqualFold(scheme, webSocketScheme)
}

func parseWebSocket(base, query string) (u UpstreamURL, err error) {
	u = UpstreamURL{kind: kindWebSocket, path: telegramPath}
	if u.weight, err = parseWeight(query, refuseAllButVia); err != nil {
		return UpstreamURL{}, err
	}
	if u.proxy, err = parseVia(query); err != nil {
		return UpstreamURL{}, err
	}
	if strings.EqualFold(base, webSocketScheme) {
		return u, nil
	}
	parsed, err := url.Parse(base)
	if err != nil || parsed.Opaque != "" || parsed.Host == "" || parsed.User != nil || parsed.Fragment != "" {
		return UpstreamURL{}, errForm
	}
	port := parsed.Port()
	if port == "" {
		port = webSocketPort
	}
	u.server = net.JoinHostPort(strings.ToLower(parsed.Hostname()), port)
	if _, _, err := netx.SplitHostPort(u.server); err != nil {
		return UpstreamURL{}, err
	}
	if path := parsed.EscapedPath(); path != "" && path != "/" {
		u.path = path
	}
	if len(u.path) > maxPath {
		return UpstreamURL{}, fmt.Errorf("the path is longer than %d bytes", maxPath)
	}
	return u, nil
}

// parseVia returns the SOCKS5 or HTTP proxy that a query has, or one without a Server.
func parseVia(query string) (proxy proxydial.Proxy, err error) {
	for param := range strings.SplitSeq(query, "&") {
		value, ok := strings.CutPrefix(param, paramVia+"=")
		if !ok {
			continue
		}
		if proxy.Server != "" {
			return proxydial.Proxy{}, errors.New("via is given twice")
		}
		// A password may be escaped, and is within the proxy's URL.
		if !strings.Contains(value, "://") {
			if value, err = url.QueryUnescape(value); err != nil {
				return proxydial.Proxy{}, errors.New("via has a % without two hexadecimal digits behind it")
			}
		}
		if proxy, err = proxydial.Parse(value); err != nil {
			return proxydial.Proxy{}, fmt.Errorf("via: %w", err)
		}
	}
	return proxy, nil
}

// webSocketString is String: "wss", "wss://HOST/PATH", with the proxy in front.
func (u UpstreamURL) webSocketString() string {
	text := webSocketScheme
	if u.server != "" {
		text += "://" + strings.TrimSuffix(u.server, ":"+webSocketPort) + u.path
	}
	if u.proxy.Server != "" {
		text += "?" + paramVia + "=" + u.proxy.String()
	}
	return text
}

// telegramNames are the names of the data centres' hosts, by number. kwsN are those that
// Telegram's own web client uses.
var telegramNames = [...][2]string{1: {"pluto", "kws1"}, {"venus", "kws2"}, {"aurora", "kws3"}, {"vesta", "kws4"}, {"flora", "kws5"}}

// number returns the number of a data centre without its sign and environment. The CDN's
// is that of the data centre whose hosts lead to it.
func number(dc datacenter.DC) int {
	n := int(dc)
	if n < 0 {
		n = -n
	}
	if dc.Test() {
		n -= 10000
	}
	if n == int(datacenter.CDN) {
		n = 2
	}
	return n
}

// webSocketAddresses returns the hosts of a data centre, the first to try first. A media
// number has the second names first, which have limits of their own for requests.
func (u UpstreamURL) webSocketAddresses(dc datacenter.DC) (all []string) {
	n := number(dc)
	if u.server != "" {
		if own := telegramNumber(u.server); own != 0 && own != n {
			return nil // another data centre's
		}
		return []string{u.server}
	}
	if n < 1 || n >= len(telegramNames) {
		return nil
	}
	name := telegramNames[n]
	hosts := []string{name[0], name[1]}
	if dc.Media() {
		hosts = []string{name[0] + "-1", name[1] + "-1", name[0], name[1]}
	}
	for _, host := range hosts {
		all = append(all, host+telegramDomain+":"+webSocketPort)
	}
	return all
}

// leadsTo reports whether the upstream leads to a data centre.
func (u UpstreamURL) leadsTo(dc datacenter.DC) bool {
	return u.kind != kindWebSocket || len(u.webSocketAddresses(dc)) > 0
}

// telegramNumber returns the number of the data centre that an address is of, 0 if it is
// of none.
func telegramNumber(address string) int {
	host, _, _ := net.SplitHostPort(address)
	name, ok := strings.CutSuffix(host, telegramDomain)
	if !ok {
		return 0
	}
	name = strings.TrimSuffix(name, "-1")
	if len(name) == len("zws1") && strings.HasPrefix(name, "zws") {
		name = "k" + name[1:] // of Telegram's other web client
	}
	for n, names := range telegramNames {
		if name != "" && (name == names[0] || name == names[1]) {
			return n
		}
	}
	return 0
}

// dialWebSocket makes an attempt at a WebSocket: TCP, perhaps through a proxy, TLS with a
// browser's hello, and the upgrade.
func (r *Router) dialWebSocket(ctx context.Context, a *attempt) (net.Conn, error) {
	// A host of a data centre's own is an address. One for all is the upstream itself.
	own := a.upstream.server == ""
	a.reached.Store(own && a.upstream.proxy.Server == "")
	conn, err := r.dialTLS(ctx, a.upstream.proxy, a.address, func() { a.reached.Store(own) })
	if err != nil {
		return nil, err
	}
	path := a.upstream.path
	if a.dc.Test() && !strings.HasSuffix(path, testSuffix) {
		path += testSuffix
	}
	stream, err := wsstream.Upgrade(ctx, conn, wsstream.Request{
		Host: strings.TrimSuffix(a.address, ":"+webSocketPort), Path: path,
		Subprotocol: "binary", Origin: telegramOrigin, UserAgent: browser.UserAgent,
	})
	if err != nil {
		conn.Close()
		return nil, during("request for a WebSocket", err)
	}
	return stream, nil
}

// dialTLS connects to an address, through a proxy if that has a server, and makes the TLS
// handshake of a browser. It calls reached when the proxy has answered.
func (r *Router) dialTLS(ctx context.Context, proxy proxydial.Proxy, address string, reached func()) (net.Conn, error) {
	below, err := r.dialVia(ctx, proxy, address, reached)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(address)
	conn, err := browser.Client(ctx, below, host, r.config.TLS)
	if err != nil {
		below.Close()
		return nil, during("TLS handshake", err)
	}
	return conn, nil
}

// during adds what has taken too long to an error that has no more than that.
func during(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

func (r *Router) dialVia(ctx context.Context, proxy proxydial.Proxy, address string, reached func()) (net.Conn, error) {
	if proxy.Server == "" {
		return r.config.DialContext(ctx, "tcp", address)
	}
	conn, err := r.config.DialContext(ctx, "tcp", proxy.Server)
	if err != nil {
		return nil, err
	}
	secure, err := proxy.Secure(ctx, conn, r.config.TLS)
	if err == nil {
		reached()
		err = proxy.Connect(ctx, secure, address)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
