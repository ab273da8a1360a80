package service

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/proxy"
)

// FrontAddress is the address of a fronting host:
//
//	HOST:PORT                   for all domains without an address of their own
//	unix:/PATH                  the same, on a Unix socket
//	DOMAIN=HOST:PORT            for one domain of a FakeTLS secret
//	DOMAIN=unix:/PATH           the same, on a Unix socket
//	ADDRESS?proxy-protocol=2    any of these, with PROXY protocol headers of version
//	                            1 or 2 for the host
//
// Without a port it is 443.
type FrontAddress struct {
	Domain string // in lower case; "" for all others
	proxy.Front
}

const paramProxyProtocol = "proxy-protocol"

// UnmarshalText parses any of the forms. After an error f is unchanged.
func (f *FrontAddress) UnmarshalText(text []byte) error {
	parsed, err := parseFront(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("bad fronting host %q: %w", text, err)
	}
	*f = parsed
	return nil
}

func parseFront(text string) (f FrontAddress, err error) {
	address, query, hasQuery := strings.Cut(text, "?")
	if hasQuery {
		if f.ProxyProtocol, err = parseFrontQuery(query); err != nil {
			return f, err
		}
	}
	if domain, rest, ok := strings.Cut(address, "="); ok && !strings.HasPrefix(address, netx.UnixPrefix) {
		if domain == "" {
			return f, errors.New("the domain before the = is empty")
		}
		if !netx.IsHost(domain) {
			return f, netx.ErrHost
		}
		f.Domain, address = strings.ToLower(domain), rest
	}
	f.Address = withPort(address, defaultTLSPort)
	if _, _, err := netx.SplitNetwork(f.Address); err != nil {
		return f, err
	}
	return f, nil
}

// defaultTLSPort is the port of a fronting host and of a data centre whose address has
// none.
const defaultTLSPort = "443"

// withPort adds a port to a host that has none. It changes neither a Unix socket's
// address nor one without a host, which is an error later.
func withPort(address, port string) string {
	if host, given := splitOptionalPort(address); given == "" && host != "" && !strings.HasPrefix(address, netx.UnixPrefix) && checkHost(host) == nil {
		return net.JoinHostPort(host, port)
	}
	return address
}

// parseFrontQuery parses what follows the question mark.
func parseFrontQuery(query string) (proxy.ProxyProtocol, error) {
	name, value, _ := strings.Cut(query, "=")
	switch {
	case name != paramProxyProtocol || strings.Contains(value, "&"):
		return 0, fmt.Errorf("the only parameter is %s=1 or %s=2", paramProxyProtocol, paramProxyProtocol)
	case value == "1":
		return proxy.ProxyProtocolV1, nil
	case value == "2":
		return proxy.ProxyProtocolV2, nil
	}
	return 0, errors.New("the PROXY protocol has versions 1 and 2")
}

// String returns the form that UnmarshalText parses.
func (f FrontAddress) String() string {
	text := f.Address
	if f.Domain != "" {
		text = f.Domain + "=" + text
	}
	if f.ProxyProtocol != proxy.NoProxyProtocol {
		text += fmt.Sprintf("?%s=%d", paramProxyProtocol, f.ProxyProtocol)
	}
	return text
}

// DataCenterAddress is an address of a data centre:
//
//	ID=HOST:PORT    of the data centre with that signed number
//	*=HOST:PORT     of all data centres without an address of their own
//
// Without a port it is 443.
type DataCenterAddress struct {
	DC      datacenter.DC // 0 for all others
	Address string
}

// UnmarshalText parses either form. After an error d is unchanged.
func (d *DataCenterAddress) UnmarshalText(text []byte) error {
	id, address, ok := strings.Cut(strings.TrimSpace(string(text)), "=")
	if !ok {
		return fmt.Errorf("bad data centre address %q: want ID=HOST:PORT or *=HOST:PORT", text)
	}
	var dc datacenter.DC
	if id != "*" {
		var err error
		if dc, err = datacenter.ParseDC(id); err != nil {
			return fmt.Errorf("bad data centre address %q: %w", text, err)
		}
		if dc == 0 {
			return fmt.Errorf("bad data centre address %q: no data centre has number 0; * stands for all others", text)
		}
	}
	address = withPort(address, defaultTLSPort)
	if _, _, err := netx.SplitHostPort(address); err != nil {
		return fmt.Errorf("bad data centre address %q: %w", text, err)
	}
	*d = DataCenterAddress{dc, address}
	return nil
}

// String returns the form that UnmarshalText parses.
func (d DataCenterAddress) String() string {
	if d.DC == 0 {
		return "*=" + d.Address
	}
	return d.DC.String() + "=" + d.Address
}

// TrustedPeer is a load balancer, or several, whose connections begin with a PROXY
// protocol header:
//
//	ADDRESS         an IP address
//	NETWORK/BITS    such as 10.0.0.0/8
//	unix            every peer that connects to a Unix socket
type TrustedPeer struct {
	Network netip.Prefix // not valid for unix
	Unix    bool
}

// UnmarshalText parses any of the forms. After an error p is unchanged.
func (p *TrustedPeer) UnmarshalText(text []byte) error {
	var trust proxyprotocol.Trust
	if err := trust.Add(string(text)); err != nil {
		return err
	}
	*p = TrustedPeer{Unix: trust.Unix}
	for _, network := range trust.Networks {
		p.Network = network
	}
	return nil
}

// String returns the form that UnmarshalText parses.
func (p TrustedPeer) String() string {
	switch {
	case p.Unix:
		return "unix"
	case p.Network.IsSingleIP():
		return p.Network.Addr().String()
	}
	return p.Network.String()
}
