package service

import (
	"cmp"
	"net"
	"net/netip"

	"github.com/mtwire/mtwire/mtproxy"
)

// Link is a tg://proxy link to the service, and the user that it is for.
type Link struct {
	User string
	mtproxy.Link
}

// Links returns a link for each secret of each user, in the order of the
// configuration. The service must be listening.
func (s *Service) Links() (links []Link) {
	server, port := s.reachable()
	for _, user := range s.users {
		for _, secret := range user.Secrets {
			links = append(links, Link{user.Name, mtproxy.Link{Server: server, Port: port, Secret: secret}})
		}
	}
	return links
}

// checkLinks returns an error unless c has a server and a port for links that
// clients can parse.
func (c *Config) checkLinks() error {
	if c.Server == "" || c.Port == 0 {
		unix := true
		for _, address := range c.Listen {
			unix = unix && address.Network == "unix"
		}
		if unix {
			return configError("server", "no link can be made for a Unix socket alone: set the server and the port that clients connect to")
		}
	}
	if c.Server != "" {
		link := mtproxy.Link{Server: c.Server, Port: 443, Secret: mtproxy.Secret{Mode: mtproxy.Plain}}
		if _, err := mtproxy.ParseLink(link.String()); err != nil {
			return configError("server", "it makes no link: %w", err)
		}
	}
	return nil
}

// reachable returns the server and the port for the links: the configured ones, or
// else those of the first listeners that have them.
func (s *Service) reachable() (server string, port uint16) {
	server, port = s.config.Server, s.config.Port
	for i, ln := range s.listeners {
		address, err := netip.ParseAddrPort(ln.Addr().String())
		if err != nil {
			continue // a Unix socket
		}
		if port == 0 {
			port = address.Port()
		}
		if server == "" {
			server = address.Addr().String()
			if address.Addr().IsUnspecified() {
				server = ownAddress(s.config.Listen[i].Network)
			}
		}
	}
	return server, port
}

// ownAddress returns an address of this machine that clients may reach, or else
// the loopback address, for a listener on all addresses of network: tcp, tcp4 or
// tcp6.
func ownAddress(network string) string {
	addresses, _ := net.InterfaceAddrs()
	first := map[bool]string{} // by whether it is IPv4
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		ip := prefix.Addr()
		if _, found := first[ip.Is4()]; err == nil && ip.IsGlobalUnicast() && !found {
			first[ip.Is4()] = ip.String()
		}
	}
	switch network {
	case "tcp4":
		return cmp.Or(first[true], "127.0.0.1")
	case "tcp6":
		return cmp.Or(first[false], "::1")
	}
	return cmp.Or(first[true], first[false], "127.0.0.1")
}
