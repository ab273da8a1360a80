package service

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
)

// PublicAddress is the address that clients connect to, for links:
//
//	HOST               a name or an IP address, and the port listened on
//	HOST:PORT          with a port of its own, such as that of a router
//	:PORT              the port alone
//	auto[:PORT]        the address that a public STUN server sees
//	stun:HOST[:PORT]   the address that this STUN server sees
//
// The zero value stands for an address of this machine and the port listened on.
type PublicAddress struct {
	Host string // without brackets, "" if it is to be found
	Port uint16 // 0 for the one listened on
	STUN string // "", auto, or the STUN server to ask, HOST:PORT
}

const (
	publicAuto   = "auto"
	stunPrefix   = "stun:"
	stunPort     = "3478" // https://www.rfc-editor.org/rfc/rfc8489#section-18.6
	emptyAddress = "an empty address: want HOST[:PORT] or auto"
)

// UnmarshalText parses any of the forms, with space around it. An IPv6 address may
// have brackets. After an error p is unchanged.
func (p *PublicAddress) UnmarshalText(text []byte) error {
	parsed, err := parsePublic(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

func parsePublic(text string) (p PublicAddress, err error) {
	if text == "" {
		return p, errors.New(emptyAddress)
	}
	if server, ok := strings.CutPrefix(text, stunPrefix); ok {
		host, port := splitOptionalPort(server)
		if err := checkHost(host); err != nil {
			return p, fmt.Errorf("bad STUN server %q: %w", server, err)
		}
		return PublicAddress{STUN: net.JoinHostPort(host, cmp.Or(port, stunPort))}, nil
	}
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		return p, fmt.Errorf("bad address %q: want HOST[:PORT], without %s://", text, scheme)
	}
	host, port := splitOptionalPort(text)
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return p, fmt.Errorf("bad address %q: the port is not a number from 1 to 65535", text)
		}
		p.Port = uint16(n)
	}
	switch {
	case host == publicAuto:
		p.STUN = publicAuto
	case host != "":
		if err := checkHost(host); err != nil {
			return PublicAddress{}, fmt.Errorf("bad address %q: %w", text, err)
		}
		p.Host = host
	}
	return p, nil
}

// splitOptionalPort splits HOST or HOST:PORT, and removes the brackets of an IPv6
// address. An IPv6 address without brackets has no port.
func splitOptionalPort(text string) (host, port string) {
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		return text[1 : len(text)-1], ""
	}
	if strings.Count(text, ":") == 1 || strings.HasPrefix(text, "[") {
		if host, port, err := net.SplitHostPort(text); err == nil && port != "" {
			return host, port
		}
	}
	return text, ""
}

// checkHost returns an error unless clients can parse host in a link and connect to
// it.
func checkHost(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		switch {
		case ip.IsUnspecified():
			return errors.New("that stands for all addresses of a machine, and clients connect to one")
		case ip.Zone() != "":
			return errors.New("an address with a zone works on one machine only")
		}
		return nil
	}
	link := mtproxy.Link{Server: host, Port: 443, Secret: mtproxy.Secret{Mode: mtproxy.Plain}}
	if parsed, err := mtproxy.ParseLink(link.String()); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "bad proxy link: ")) // it is about the address alone
	} else if parsed != link {
		return errors.New("want HOST[:PORT]")
	}
	return nil
}

// String returns the form that UnmarshalText parses.
func (p PublicAddress) String() string {
	switch {
	case p.STUN != "" && p.STUN != publicAuto:
		return stunPrefix + p.STUN
	case p.Port == 0:
		return cmp.Or(p.Host, p.STUN)
	}
	return net.JoinHostPort(cmp.Or(p.Host, p.STUN), strconv.Itoa(int(p.Port)))
}

// MarshalText returns the same text as String.
func (p PublicAddress) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
