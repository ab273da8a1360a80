package gotd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
)

// Resolver connects gotd's client to data centres by mtwire. It may be used by several
// clients at once.
type Resolver struct {
	// Endpoint says how to connect.
	//
	// With an Address it is one server for every data centre: a proxy, a relay, a test
	// server. Its DC is replaced by the number that gotd asks for, with the sign for
	// media and the offset of the test environment.
	//
	// Without an Address, data centres are dialled by their numbers: over TCP at the
	// addresses in gotd's list, in gotd's order, or those of mtwire's table if the list
	// has none; over WebSocket and HTTP at their host names, or at the URL in the list's
	// Domains. The zero Endpoint is TCP without obfuscation. An address in the list that
	// has a secret is dialled with it, after those without.
	Endpoint mtwire.Endpoint

	// Config configures the connections. Nil means the zero DialConfig.
	Config *mtwire.DialConfig
}

var _ dcs.Resolver = (*Resolver)(nil)

// NewResolver returns a Resolver for an endpoint, named by its URL: see mtwire.Endpoint.
// The names tcp (obfuscated, as official clients connect), wss and https alone are those
// without an address. The error does not quote a secret.
func NewResolver(endpoint string, config *mtwire.DialConfig) (*Resolver, error) {
	switch endpoint {
	case "tcp":
		return &Resolver{mtwire.Endpoint{Obfuscated: true}, config}, nil
	case "wss":
		return &Resolver{mtwire.Endpoint{Carrier: mtwire.WebSocket}, config}, nil
	case "https":
		return &Resolver{mtwire.Endpoint{Carrier: mtwire.HTTP}, config}, nil
	}
	ep, err := mtwire.ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	return &Resolver{ep, config}, nil
}

// Primary connects to a data centre. The error is about the endpoint or the number, or that of
// mtwire.DialEndpoint. The caller closes the connection.
func (r *Resolver) Primary(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	return r.connect(ctx, dc, list, primary)
}

// MediaOnly is Primary for the media side of a data centre.
func (r *Resolver) MediaOnly(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	return r.connect(ctx, dc, list, media)
}

// CDN is Primary for a CDN data centre.
func (r *Resolver) CDN(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	return r.connect(ctx, dc, list, cdn)
}

// noConfig is the config of Resolvers without one.
var noConfig mtwire.DialConfig

// purpose is what a connection is for.
type purpose int

const (
	primary purpose = iota
	media
	cdn
)

// number returns the number that an init payload carries for gotd's dc.
func number(dc int, test bool, p purpose) (mtwire.DC, error) {
	n := mtwire.DC(dc)
	if int(n) != dc || n == 0 {
		return 0, fmt.Errorf("DC %d: not the number of a data centre", dc)
	}
	if p == media && !n.Media() {
		n = n.AsMedia()
	}
	if test {
		n = n.AsTest()
	}
	return n, nil
}

// serves reports whether an address of the list is for this purpose.
func (p purpose) serves(option tg.DCOption) bool {
	return option.MediaOnly == (p == media) && option.CDN == (p == cdn)
}

func (r *Resolver) connect(ctx context.Context, dc int, list dcs.List, p purpose) (transport.Conn, error) {
	n, err := number(dc, list.Test, p)
	if err != nil {
		return nil, err
	}
	// The config is passed on as it is: connections with one config share sessions with
	// a WEB proxy.
	ep, config := r.Endpoint, r.Config
	if config == nil {
		config = &noConfig
	}
	ep.DC = n
	switch {
	case ep.Address != "":
		return dial(ctx, ep, config)
	case ep.Secret != (mtwire.Secret{}):
		return nil, errors.New("an endpoint with a secret needs an address")
	case ep.Carrier == mtwire.TCP:
		return dialListed(ctx, ep, config, list.Options, p)
	}
	if err := host(&ep, list.Domains[dc]); err != nil {
		return nil, err
	}
	return dial(ctx, ep, config)
}

// host sets the address of an endpoint over WebSocket or HTTP: that of url, if it is not
// empty and of this carrier, or that of mtwire's table.
func host(ep *mtwire.Endpoint, url string) error {
	known, _ := datacenter.Lookup(ep.DC)
	fallback := known.WebSocketURL()
	if ep.Carrier == mtwire.HTTP {
		fallback = known.HTTPSURL()
	}
	for _, text := range []string{url, fallback} {
		if text == "" {
			continue
		}
		named, err := mtwire.ParseEndpoint(text)
		if err != nil {
			return fmt.Errorf("%s: %w", ep.DC.Describe(), err)
		}
		if named.Carrier != ep.Carrier {
			continue
		}
		ep.Address, ep.TLS = named.Address, named.TLS
		if ep.Path == "" {
			ep.Path = named.Path
		}
		return nil
	}
	return fmt.Errorf("%s: %w", ep.DC.Describe(), mtwire.ErrUnknownDC)
}

// dialListed connects to one of the addresses of gotd's list, or to one of mtwire's
// table if there is none for this purpose.
func dialListed(ctx context.Context, ep mtwire.Endpoint, config *mtwire.DialConfig, options []tg.DCOption, p purpose) (transport.Conn, error) {
	var addresses []string
	var secrets []mtwire.Endpoint
	six := config.Family == datacenter.PreferIPv6 || config.Family == datacenter.OnlyIPv6
	for _, option := range dcs.FindDCs(options, ep.DC.ID(), six) {
		if !p.serves(option) {
			continue
		}
		address := net.JoinHostPort(option.IPAddress, strconv.Itoa(option.Port))
		if len(option.Secret) == 0 {
			addresses = append(addresses, address)
			continue
		}
		secret, err := mtproxy.ParseSecretBytes(option.Secret)
		if err != nil {
			continue // a form that mtwire does not know; there are other addresses
		}
		secrets = append(secrets, mtwire.Endpoint{Address: address, Secret: secret, DC: ep.DC})
	}
	var errs []error
	if len(addresses) > 0 || len(secrets) == 0 {
		if len(addresses) > 0 {
			listed := *config
			listed.DataCenters = map[mtwire.DC][]string{ep.DC: addresses}
			config = &listed
		}
		conn, err := dial(ctx, ep, config)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	for _, ep := range secrets {
		conn, err := dial(ctx, ep, config)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// dial connects to an endpoint, by its DC if it has no address. Over HTTP the connection
// asks for packets by http_wait.
func dial(ctx context.Context, ep mtwire.Endpoint, config *mtwire.DialConfig) (transport.Conn, error) {
	conn, err := mtwire.DialEndpoint(ctx, ep, config)
	if err != nil {
		return nil, err
	}
	if ep.Carrier != mtwire.HTTP {
		return Conn(conn), nil
	}
	polls, err := pollClient(ep, config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return newPolling(Conn(conn), polls), nil
}
