package mtwire

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
)

// Secret is an MTProxy secret. Read one with ParseSecret.
type Secret = mtproxy.Secret

// ParseSecret reads an MTProxy secret in hex, base64url or base64.
func ParseSecret(text string) (Secret, error) { return mtproxy.ParseSecret(text) }

// DC is a data centre's signed number: see package datacenter.
type DC = datacenter.DC

// DefaultDC is the data centre that a proxy is asked for when none is named.
const DefaultDC DC = 2

// Endpoint names a server and how to speak to it. The zero values of all
// fields but Address are good: TCP, Intermediate, no obfuscation.
//
// It is a URL in one of these forms, query parameters being optional:
//
//	tcp://HOST:PORT?protocol=intermediate&obfuscated=true&dc=2&secret=...
//	ws://HOST:PORT/apiws?protocol=intermediate&dc=2&secret=...     also wss
//	http://HOST:PORT/api                                           also https
//	tg://proxy?server=HOST&port=PORT&secret=...&dc=2
//	https://t.me/proxy?server=HOST&port=PORT&secret=...&dc=2
type Endpoint struct {
	Carrier Carrier
	// TLS asks for wss or https.
	TLS bool
	// Address is host:port.
	Address string
	// Path is the request's path, for WebSocket and HTTP. Empty means /apiws
	// and /api.
	Path string

	// Protocol is the framing. 0 means PaddedIntermediate with a secret and
	// Intermediate without. HTTP has none.
	Protocol Protocol
	// Obfuscated asks for an init payload. A secret and WebSocket imply it.
	Obfuscated bool
	// Secret is an MTProxy's; its zero value means none. FakeTLS secrets need
	// a byte stream of their own, and so TCP.
	Secret Secret
	// DC goes into the init payload. 0 means DefaultDC with a secret. A data
	// centre that is dialled directly does not look at it.
	DC DC
}

// The names of the parameters.
const (
	paramProtocol   = "protocol"
	paramObfuscated = "obfuscated"
	paramDC         = "dc"
	paramSecret     = "secret"
)

var defaultPaths = [...]string{WebSocket: "/apiws", HTTP: "/api"}

// ParseEndpoint reads the URL of an endpoint. Defaults are filled in. Errors
// name what is wrong and do not quote the secret.
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

func parseEndpoint(text string) (ep Endpoint, err error) {
	if mtproxy.IsLink(text) {
		return parseLink(text)
	}
	u, err := url.Parse(text)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the text, which may hold a secret
		}
		return ep, err
	}
	if u.Scheme == "" || u.Host == "" {
		return ep, errors.New("want a URL such as tcp://HOST:PORT, wss://HOST/apiws or https://HOST/api, or a tg://proxy?... link")
	}
	if u.User != nil {
		return ep, errors.New("no user or password can be given")
	}
	port := ""
	switch u.Scheme {
	case "tcp":
		ep.Carrier = TCP
	case "ws", "wss":
		ep.Carrier = WebSocket
	case "http", "https":
		ep.Carrier = HTTP
	default:
		return ep, fmt.Errorf("unknown scheme %q: want tcp, ws, wss, http, https or tg", u.Scheme)
	}
	switch u.Scheme {
	case "ws", "http":
		port = "80"
	case "wss", "https":
		ep.TLS, port = true, "443"
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if port == "" {
		return ep, errors.New("no port")
	}
	ep.Address = net.JoinHostPort(u.Hostname(), port)
	ep.Path = u.Path
	err = ep.setParams(u)
	return ep, err
}

// setParams reads the query of a URL that is no link. A parameter that nobody
// knows is an error: it is more likely a slip than of no importance.
func (ep *Endpoint) setParams(u *url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("the query cannot be read")
	}
	for name, values := range query {
		value := values[0]
		if len(values) > 1 {
			return fmt.Errorf("parameter %s is given twice", name)
		}
		if ep.Carrier == HTTP {
			return fmt.Errorf("parameter %s: HTTP has no framing and no obfuscation", name)
		}
		switch name {
		case paramProtocol:
			if ep.Protocol, err = ParseProtocol(value); err != nil {
				return err
			}
		case paramObfuscated:
			if ep.Obfuscated, err = strconv.ParseBool(value); err != nil {
				return fmt.Errorf("obfuscated=%s is neither true nor false", value)
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
			if len(name) > len(paramObfuscated) {
				name = name[:3] + "..." // a secret without its name, perhaps
			}
			return fmt.Errorf("unknown parameter %q: want protocol, obfuscated, dc or secret", name)
		}
	}
	return nil
}

// ParseProtocol reads the name of a framing: abridged, intermediate,
// padded-intermediate (or padded) or full.
func ParseProtocol(name string) (Protocol, error) {
	var p Protocol
	err := p.UnmarshalText([]byte(name))
	return p, err
}

func parseLink(text string) (ep Endpoint, err error) {
	link, err := mtproxy.ParseLink(text)
	if err != nil {
		return ep, err
	}
	ep.Address, ep.Secret = link.Addr(), link.Secret
	_, query, _ := strings.Cut(text, "?")
	query, _, _ = strings.Cut(query, "#")
	for param := range strings.SplitSeq(query, "&") {
		if value, ok := strings.CutPrefix(param, paramDC+"="); ok {
			if ep.DC, err = datacenter.ParseDC(value); err != nil {
				return ep, err
			}
		}
	}
	return ep, nil
}

// checkAddress returns an error if Address cannot be dialled. The error does not
// quote it: it may be a misplaced secret.
func (ep *Endpoint) checkAddress() error {
	if _, _, err := netx.SplitHostPort(ep.Address); err != nil {
		return fmt.Errorf("bad address: %w", err)
	}
	return nil
}

// complete fills in the defaults and returns an error if fields contradict each
// other. It ignores Address.
func (ep *Endpoint) complete() error {
	if ep.Path == "" && ep.Carrier != TCP {
		ep.Path = defaultPaths[ep.Carrier]
	}
	secret := ep.Secret != Secret{}
	switch {
	case ep.Carrier == TCP && ep.Path != "" && ep.Path != "/":
		return fmt.Errorf("TCP has no path: %s", ep.Path)
	case ep.Carrier == TCP && ep.TLS:
		return errors.New("TLS goes with WebSocket and HTTP only")
	case ep.Carrier == HTTP && (ep.Protocol != 0 || ep.Obfuscated || secret):
		return errors.New("HTTP has no framing, no obfuscation and no secret")
	case ep.Carrier == WebSocket && ep.Secret.Mode == mtproxy.FakeTLS:
		return errors.New("an ee secret goes with TCP only")
	}
	if ep.Carrier == TCP {
		ep.Path = ""
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

// String returns the endpoint's URL, which ParseEndpoint reads back. It holds
// the secret.
func (ep Endpoint) String() string {
	u := url.URL{Host: ep.Address, Path: ep.Path}
	switch {
	case ep.Carrier == TCP:
		u.Scheme = "tcp"
	case ep.Carrier == WebSocket && ep.TLS:
		u.Scheme = "wss"
	case ep.Carrier == WebSocket:
		u.Scheme = "ws"
	case ep.TLS:
		u.Scheme = "https"
	default:
		u.Scheme = "http"
	}
	if ep.Carrier == HTTP {
		return u.String()
	}
	var query []string // in a fixed and readable order
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
		query = append(query, paramSecret+"="+ep.Secret.String())
	}
	u.RawQuery = strings.Join(query, "&")
	return u.String()
}
