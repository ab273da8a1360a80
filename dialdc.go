package mtwire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/happyeyeballs"
	"github.com/mtwire/mtwire/internal/netx"
)

// ErrUnknownDC means that a data centre is neither in DialConfig.DataCenters nor in the
// public table, or that it has no host for WebSocket and HTTPS.
var ErrUnknownDC = errors.New("no address is known for this data centre")

// attemptDelay is the time from one attempt to the next, the Connection Attempt Delay.
// It is longer than the recommended 250 ms, because data centres are farther away than
// web servers.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8305#section-5
const attemptDelay = 300 * time.Millisecond

// DialDC connects to a data centre by its number, obfuscated over TCP, as official
// clients do. It is DialEndpoint for an endpoint that has a DC, no secret and no
// address: one with another carrier or framing is dialled in the same way.
//
// Over TCP all addresses of DialConfig.DataCenters or, without them, of the public
// table are tried, of both families and on ports 443, 80 and 5222. The next attempt
// starts when one fails, or after 300 ms; the first to connect wins, so that a dead
// address or a family without a route costs a moment. Over WebSocket and HTTP the
// connection is one with TLS to the data centre's host name.
//
// The error is ErrUnknownDC, or has those of all attempts. A number like -2 is the media
// side of data centre 2, and is sent with its sign: see package datacenter.
func DialDC(ctx context.Context, dc DC, config *DialConfig) (*Conn, error) {
	if dc == 0 {
		return nil, fmt.Errorf("%s: %w", dc.Describe(), ErrUnknownDC)
	}
	return DialEndpoint(ctx, Endpoint{DC: dc, Obfuscated: true}, config)
}

// byNumber reports whether DialEndpoint finds the endpoint's address by its DC.
func (ep *Endpoint) byNumber() bool {
	return ep.Address == "" && ep.DC != 0 && ep.Secret == (Secret{})
}

// locate sets the address of an endpoint that is byNumber, and returns a config whose
// DialContext connects to all addresses of the data centre.
func (ep *Endpoint) locate(config *DialConfig) (*DialConfig, error) {
	known, ok := datacenter.Lookup(ep.DC)
	if ep.Carrier != TCP {
		if !ok || known.Name == "" {
			return nil, fmt.Errorf("%s: %w", ep.DC.Describe(), ErrUnknownDC)
		}
		text := known.WebSocketURL()
		if ep.Carrier == HTTP {
			text = known.HTTPSURL()
		}
		host, err := parseEndpoint(text)
		if err != nil {
			return nil, err
		}
		ep.Address, ep.TLS = host.Address, true
		if ep.Path == "" {
			ep.Path = host.Path
		}
		return config, nil
	}
	addresses := config.addressesOf(ep.DC, known)
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%s: %w", ep.DC.Describe(), ErrUnknownDC)
	}
	for _, address := range addresses {
		if _, _, err := netx.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("%s: bad address: %w", ep.DC.Describe(), err)
		}
	}
	ep.Address = addresses[0]
	dial, located := config.dialContext(), *config
	located.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, _, errs := happyeyeballs.Dial(ctx, len(addresses), attemptDelay, func(ctx context.Context, i int) (net.Conn, error) {
			return dial(ctx, network, addresses[i])
		})
		if conn == nil {
			return nil, fmt.Errorf("%s: %w", ep.DC.Describe(), errors.Join(errs...))
		}
		return conn, nil
	}
	return &located, nil
}

// addressesOf returns the addresses of a data centre: the configured ones, or those of
// the table, where known comes from. A media number without addresses of its own in the
// configuration has the main one's.
func (config *DialConfig) addressesOf(dc DC, known datacenter.Location) (addresses []string) {
	for _, number := range []DC{dc, -dc} {
		if configured := config.DataCenters[number]; len(configured) > 0 && (number == dc || dc.Media()) {
			return configured
		}
	}
	for _, address := range known.Addresses(config.Family) {
		addresses = append(addresses, address.String())
	}
	return addresses
}
