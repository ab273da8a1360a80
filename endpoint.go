package mtwire

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// Secret is an MTProxy secret: see mtproxy.Secret.
type Secret = mtproxy.Secret

// ParseSecret parses an MTProxy secret in hex, base64url or base64: see mtproxy.ParseSecret.
// The error does not quote the text.
func ParseSecret(text string) (Secret, error) { return mtproxy.ParseSecret(text) }

// DC is a data centre's signed number: see package datacenter.
type DC = datacenter.DC

// DefaultDC is the data centre that a client requests from a proxy if its endpoint
// has none.
const DefaultDC DC = 2

// Endpoint is the address of a server and the transport to use. The zero values of
// all fields but Address are usable: TCP, Intermediate, no obfuscation.
//
// As text it is a URL in one of these forms. Query parameters are optional:
//
//	tcp://HOST:PORT?protocol=intermediate&obfuscated=true&dc=2&secret=...
//	ws://HOST:PORT/apiws?protocol=intermediate&dc=2&secret=...     also wss
//	http://HOST:PORT/api                                           also https
//	tg://proxy?server=HOST&port=PORT&secret=...&dc=2
//	https://t.me/proxy?server=HOST&port=PORT&secret=...&dc=2
//	tg://webproxy?server=HOST&secret=...&dc=2                      also https://t.me/webproxy
type Endpoint struct {
	// Carrier is TCP, WebSocket, HTTP or WEB.
	Carrier Carrier
	// TLS selects wss or https. WEB implies it.
	TLS bool
	// Address is host:port, with port 443 for WEB. DialEndpoint finds it by the DC if
	// it is empty.
	Address string
	// Path is the path of the request, for WebSocket and HTTP. Empty means /apiws
	// and /api. For WEB it is the relay's base path, or empty.
	Path string

	// Protocol is the framing. 0 means PaddedIntermediate with a secret and
	// Intermediate without. HTTP has none.
	Protocol Protocol
	// Obfuscated selects obfuscation. A secret, WebSocket and WEB imply it.
	Obfuscated bool
	// Secret is an MTProxy's. The zero value means none. FakeTLS secrets need
	// TCP, and WEB needs another secret.
	Secret Secret
	// DC is sent in the init payload. 0 means DefaultDC with a secret. A data
	// centre ignores it.
	DC DC
}

// The names of the query parameters.
const (
	paramProtocol   = "protocol"
	paramObfuscated = "obfuscated"
	paramDC         = "dc"
	paramSecret     = "secret"
)

var defaultPaths = [...]string{WebSocket: "/apiws", HTTP: "/api", WEB: ""}

// schemes are the URL schemes of endpoints. Links are parsed by package mtproxy.
var schemes = map[string]struct {
	carrier Carrier
	tls     bool
	port    string // default
}{
	"tcp":   {carrier: TCP},
	"ws":    {WebSocket, false, "80"},
	"wss":   {WebSocket, true, "443"},
	"http":  {HTTP, false, "80"},
	"https": {HTTP, true, "443"},
}

// ParseEndpoint parses the URL of an endpoint and fills in the defaults. Errors do
// not quote the secret.
func ParseEndpoint(text string) (Endpoint, error) {
	ep, err := parseEndpoint(text)
	if err == nil {
		err = ep.checkAddress()
	}
	if err == nil {
		err = ep.complete()
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("bad endpoint: %w", err)
	}
	return ep, nil
}

var errNoURL = errors.New("want a URL such as tcp://HOST:PORT, wss://HOST/apiws or https://HOST/api, or a tg://proxy?... or tg://webproxy?... link")

func parseEndpoint(text string) (ep Endpoint, err error) {
	if webproxy.IsLink(text) {
		return parseWebLink(text)
	}
	if mtproxy.IsLink(text) {
		return parseLink(text)
	}
	if !strings.Contains(text, "://") {
		return ep, errNoURL
	}
	u, err := url.Parse(text)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the text, which may have a secret
		}
		return ep, err
	}
	if u.Scheme == "" || u.Host == "" {
		return ep, errNoURL
	}
	if u.User != nil {
		return ep, errors.New("a user or password is not supported")
	}
	scheme, ok := schemes[u.Scheme]
	if !ok {
		return ep, fmt.Errorf("unknown scheme %q: want tcp, ws, wss, http, https or tg", u.Scheme)
	}
	ep.Carrier, ep.TLS = scheme.carrier, scheme.tls
	port := cmp.Or(u.Port(), scheme.port)
	if port == "" {
		return ep, errors.New("no port")
	}
	ep.Address = net.JoinHostPort(u.Hostname(), port)
	ep.Path = u.Path
	err = ep.setParams(u)
	return ep, err
}

// setParams parses the query of a URL that is not a link. An unknown parameter is
// an error, because it is likely a typing error.
func (ep *Endpoint) setParams(u *url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("malformed query")
	}
	for name, values := range query {
		value, shown := values[0], name
		if len(name) > len(paramObfuscated) {
			shown = name[:3] + "..." // possibly a secret without its name
		}
		if len(values) > 1 {
			return fmt.Errorf("duplicate parameter %q", shown)
		}
		if ep.Carrier == HTTP {
			return fmt.Errorf("parameter %q: HTTP has no framing and no obfuscation", shown)
		}
		switch name {
		case paramProtocol:
			if ep.Protocol, err = ParseProtocol(value); err != nil {
				return err
			}
		case paramObfuscated:
			if ep.Obfuscated, err = strconv.ParseBool(value); err != nil {
				return errors.New("obfuscated is neither true nor false")
			}
			if !ep.Obfuscated && (ep.Carrier == WebSocket || query.Has(paramSecret)) {
				return errors.New("obfuscated=false: WebSocket and secrets need obfuscation")
			}
		case paramDC:
			if ep.DC, err = datacenter.ParseDC(value); err != nil {
				return err
			}
		case paramSecret:
			if ep.Secret, err = ParseSecret(strings.ReplaceAll(value, " ", "+")); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown parameter %q: want protocol, obfuscated, dc or secret", shown)
		}
	}
	return nil
}

// ParseProtocol parses the name of a framing: abridged, intermediate,
// padded-intermediate (or padded) or full.
func ParseProtocol(name string) (Protocol, error) { return frame.ParseProtocol(name) }

func parseLink(text string) (ep Endpoint, err error) {
	link, err := mtproxy.ParseLink(text)
	if err != nil {
		return ep, err
	}
	ep.Address, ep.Secret = link.Addr(), link.Secret
	if value, ok := linkParam(text, paramDC); ok {
		ep.DC, err = datacenter.ParseDC(value)
	}
	return ep, err
}

// parseWebLink parses a WEB proxy's link, which may have a DC and a protocol.
func parseWebLink(text string) (ep Endpoint, err error) {
	link, err := webproxy.ParseLink(text)
	if err != nil {
		return ep, err
	}
	ep = Endpoint{Carrier: WEB, TLS: true, Address: net.JoinHostPort(link.Host, strconv.Itoa(webPort)), Secret: link.Secret}
	if link.Path != "" {
		ep.Path = "/" + link.Path
	}
	if value, ok := linkParam(text, paramDC); ok {
		if ep.DC, err = datacenter.ParseDC(value); err != nil {
			return ep, err
		}
	}
	if value, ok := linkParam(text, paramProtocol); ok {
		ep.Protocol, err = ParseProtocol(value)
	}
	return ep, err
}

// linkParam returns a parameter of a link that package mtproxy or webproxy ignores.
func linkParam(text, name string) (value string, ok bool) {
	_, query, _ := strings.Cut(mtproxy.TrimPasted(text), "?")
	query, _, _ = strings.Cut(query, "#")
	for param := range strings.SplitSeq(query, "&") {
		if found, is := strings.CutPrefix(param, name+"="); is {
			value, ok = found, true
		}
	}
	return value, ok
}

// webPort is the port of all WEB proxies.
const webPort = 443

// webLink returns the link of a WEB endpoint.
func (ep *Endpoint) webLink() webproxy.Link {
	host, _, _ := strings.Cut(ep.Address, ":")
	return webproxy.Link{Host: host, Path: strings.Trim(ep.Path, "/"), Secret: ep.Secret}
}

// Check returns an error unless the endpoint can be dialled: its fields fit together, and it
// has an address, or no secret either, as one that is found by its DC. Errors do not quote
// the secret. Check does no I/O.
func (ep Endpoint) Check() error {
	if ep.Address != "" || ep.Secret != (Secret{}) {
		if err := ep.checkAddress(); err != nil {
			return fmt.Errorf("bad endpoint: %w", err)
		}
	}
	if err := ep.complete(); err != nil {
		return fmt.Errorf("bad endpoint: %w", err)
	}
	return nil
}

// checkAddress returns an error if Address cannot be dialled. The error does not
// quote it: it may be a misplaced secret.
func (ep *Endpoint) checkAddress() error {
	host, port, err := netx.SplitHostPort(ep.Address)
	if err != nil {
		return fmt.Errorf("bad address: %w", err)
	}
	if ep.Carrier != WEB {
		return nil
	}
	if port != webPort {
		return fmt.Errorf("bad address: a WEB proxy has no port but %d", webPort)
	}
	return webproxy.CheckHost(host)
}

// complete fills in the defaults and returns an error if fields contradict each
// other. It ignores Address.
func (ep *Endpoint) complete() error {
	if int(ep.Carrier) >= len(defaultPaths) {
		return fmt.Errorf("unknown carrier %d", ep.Carrier)
	}
	if ep.Path == "" && ep.Carrier != TCP {
		ep.Path = defaultPaths[ep.Carrier]
	}
	secret := ep.Secret != Secret{}
	if secret {
		if _, err := ep.Secret.MarshalText(); err != nil {
			return err
		}
	}
	switch {
	case ep.Protocol != 0 && !ep.Protocol.Valid():
		return fmt.Errorf("unknown protocol %d", ep.Protocol)
	case ep.Carrier == TCP && ep.Path != "" && ep.Path != "/":
		return errors.New("TCP has no path")
	case ep.Carrier == TCP && ep.TLS:
		return errors.New("TLS goes with WebSocket and HTTP only")
	case ep.Carrier == HTTP && (ep.Protocol != 0 || ep.Obfuscated || secret):
		return errors.New("HTTP has no framing, no obfuscation and no secret")
	case ep.Carrier == WebSocket && ep.Secret.Mode == mtproxy.FakeTLS:
		return errors.New("an ee secret goes with TCP only")
	case ep.Carrier == WEB && (!secret || ep.Secret.Mode == mtproxy.FakeTLS):
		return errors.New("a WEB proxy needs a secret that is plain or begins with dd")
	}
	switch ep.Carrier {
	case TCP:
		ep.Path = ""
	case WEB:
		path := strings.Trim(ep.Path, "/")
		if err := webproxy.CheckPath(path); err != nil {
			return err
		}
		if ep.TLS, ep.Path = true, ""; path != "" {
			ep.Path = "/" + path
		}
	}
	if ep.Carrier == HTTP {
		return nil
	}
	padded := ep.Secret.Mode == mtproxy.Padded || ep.Secret.Mode == mtproxy.FakeTLS
	switch {
	case ep.Protocol == 0 && secret:
		ep.Protocol = PaddedIntermediate
	case ep.Protocol == 0:
		ep.Protocol = Intermediate
	case padded && ep.Protocol != PaddedIntermediate:
		return fmt.Errorf("a dd or ee secret goes with padded-intermediate, not with %v", ep.Protocol)
	}
	ep.Obfuscated = ep.Obfuscated || secret || ep.Carrier == WebSocket
	if ep.DC == 0 && secret {
		ep.DC = DefaultDC
	}
	return nil
}

// url returns the endpoint's URL without a query.
func (ep Endpoint) url() *url.URL {
	scheme := "http"
	switch ep.Carrier {
	case TCP:
		scheme = "tcp"
	case WebSocket:
		scheme = "ws"
	}
	if ep.TLS && ep.Carrier != TCP {
		scheme += "s"
	}
	return &url.URL{Scheme: scheme, Host: ep.Address, Path: ep.Path}
}

// String returns the endpoint's URL, secret included. ParseEndpoint parses it. For
// logs there is Redacted.
func (ep Endpoint) String() string {
	if ep.Carrier == WEB {
		return ep.webLink().String() + ep.linkParams()
	}
	return ep.text(ep.Secret.String())
}

// Redacted returns the endpoint's URL without the key of its secret. ParseEndpoint
// refuses it if there is a secret.
func (ep Endpoint) Redacted() string {
	if ep.Carrier == WEB {
		link := ep.webLink()
		return "tg://webproxy?server=" + url.QueryEscape(strings.TrimSuffix(link.Host+"/"+link.Path, "/")) +
			"&secret=" + ep.Secret.Redacted() + ep.linkParams()
	}
	return ep.text(ep.Secret.Redacted())
}

// linkParams returns what a WEB endpoint's text has behind the link.
func (ep Endpoint) linkParams() (params string) {
	if ep.Protocol != 0 {
		params += "&" + paramProtocol + "=" + ep.Protocol.String()
	}
	if ep.DC != 0 {
		params += "&" + paramDC + "=" + ep.DC.String()
	}
	return params
}

// LogValue returns Redacted, which keeps the key out of structured logs.
func (ep Endpoint) LogValue() slog.Value { return slog.StringValue(ep.Redacted()) }

// MarshalText returns Redacted, because what is marshaled is often logged. Store
// String instead.
func (ep Endpoint) MarshalText() ([]byte, error) { return []byte(ep.Redacted()), nil }

// UnmarshalText parses the URL of an endpoint with ParseEndpoint. An error leaves ep
// as it was.
func (ep *Endpoint) UnmarshalText(text []byte) error {
	parsed, err := ParseEndpoint(string(text))
	if err == nil {
		*ep = parsed
	}
	return err
}

// text returns the endpoint's URL with its secret in this form.
func (ep Endpoint) text(secret string) string {
	u := ep.url()
	if ep.Carrier == HTTP {
		return u.String()
	}
	var query []string // in a fixed order
	if ep.Protocol != 0 {
		query = append(query, paramProtocol+"="+ep.Protocol.String())
	}
	if ep.Obfuscated && ep.Carrier == TCP && ep.Secret == (Secret{}) {
		query = append(query, paramObfuscated+"=true")
	}
	if ep.DC != 0 {
		query = append(query, paramDC+"="+ep.DC.String())
	}
	if ep.Secret != (Secret{}) {
		query = append(query, paramSecret+"="+secret)
	}
	u.RawQuery = strings.Join(query, "&")
	return u.String()
}
