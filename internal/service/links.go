package service

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
)

// Link is a tg://proxy link to the service, and the user that it is for.
type Link struct {
	User string
	mtproxy.Link
}

// Links returns a link for each secret of each user, in the order of the
// configuration, and notes: a sentence for each reason why clients may not be able
// to connect to the links' address. Of the first run's user it is the newest secret
// that has a link. The service must be listening. Links may look up the
// secrets' domains and, if Config.Public requests it, ask a STUN server; it takes at
// most a few seconds.
func (s *Service) Links(ctx context.Context) (links []Link, notes []string) {
	return s.linksTo(thisMachine().find(ctx, s.config.Public, s.endpoints(), s.domains()))
}

// linksTo returns the links to r, and its notes.
func (s *Service) linksTo(r reach) (links []Link, notes []string) {
	for user, secret := range s.linkedSecrets() {
		links = append(links, Link{user, mtproxy.Link{Server: r.host, Port: r.port, Secret: s.linkSecret(secret)}})
	}
	return links, r.notes
}

// linkedSecrets returns the secrets that have links, each with its user's name: all,
// but of those of the first run's user the first.
func (s *Service) linkedSecrets() iter.Seq2[string, mtproxy.Secret] {
	return func(yield func(string, mtproxy.Secret) bool) {
		for i, user := range s.users {
			secrets := user.Secrets
			if s.kept != nil && i == 0 {
				secrets = secrets[:1]
			}
			for _, secret := range secrets {
				if !yield(user.Name, secret) {
					return
				}
			}
		}
	}
}

// endpoints returns the addresses of the TCP listeners.
func (s *Service) endpoints() (endpoints []endpoint) {
	for i, ln := range s.listeners {
		if address, err := netip.ParseAddrPort(ln.Addr().String()); err == nil { // otherwise a Unix socket
			network := "tcp"
			if i < len(s.config.Listen) {
				network = s.config.Listen[i].Network
			}
			if address.Addr().Is4() {
				network = "tcp4" // also if the system has no IPv6
			}
			endpoints = append(endpoints, endpoint{network, address.Addr(), address.Port()})
		}
	}
	return endpoints
}

// domains returns the domains of the secrets in links, each once.
func (s *Service) domains() (domains []string) {
	for _, secret := range s.linkedSecrets() {
		if domain := strings.ToLower(s.linkSecret(secret).Domain); domain != "" && !slices.Contains(domains, domain) {
			domains = append(domains, domain)
		}
	}
	return domains
}

// checkLinks returns an error if c has no address for links: Unix sockets have none.
func (c *Config) checkLinks() error {
	if c.Public.Host != "" && c.Public.Port != 0 {
		return nil
	}
	for _, address := range c.Listen {
		if address.Network != "unix" {
			return nil
		}
	}
	for _, ln := range c.Inherited {
		if ln.Addr().Network() != "unix" {
			return nil
		}
	}
	return configError("public", "no link can be made for a Unix socket alone: set the HOST:PORT that clients connect to")
}
