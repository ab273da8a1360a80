package service

import (
	"cmp"
	"context"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// Link is a tg://proxy link to the service, and the user that it is for. If Web has a
// host, it is a tg://webproxy link instead.
type Link struct {
	User string
	mtproxy.Link
	Web webproxy.Link
}

// String returns the link.
func (l Link) String() string {
	if l.Web.Host != "" {
		return l.Web.String()
	}
	return l.Link.String()
}

// HTTPS returns the link at https://t.me.
func (l Link) HTTPS() string {
	if l.Web.Host != "" {
		return l.Web.HTTPS()
	}
	return l.Link.HTTPS()
}

// Links returns a link for each secret of each user, in the order of the
// configuration, with a WEB link behind it if there is a web site, and notes: a sentence for
// each reason why clients may not be able to connect to the links' address, or why users are
// not served. Of the first run's user it is the newest secret
// that has a link. The service must be listening. Links may look up the
// secrets' domains and, if Config.Public requests it, ask a STUN server; it takes at
// most a few seconds.
func (s *Service) Links(ctx context.Context) (links []Link, notes []string) {
	s.reloading.Lock()
	config, domains := s.config, s.domains("")
	s.reloading.Unlock()
	m := thisMachine()
	r := m.find(ctx, config.Public, s.endpoints(), domains)
	r.notes = append(r.notes, s.webNotes(ctx, &config, m, r)...)
	s.reloading.Lock()
	defer s.reloading.Unlock()
	links = s.linksTo(r, "")
	return links, append(r.notes, noteStopped(s.policy, namesOfLinks(links))...)
}

// linksTo returns the links to r of a user, or of all users if the name is "".
func (s *Service) linksTo(r reach, name string) (links []Link) {
	for user, secret := range s.linkedSecrets(name) {
		links = append(links, Link{User: user, Link: mtproxy.Link{Server: r.host, Port: r.port, Secret: s.linkSecret(secret)}})
		if link, ok := s.config.webLink(secret); ok {
			links = append(links, Link{User: user, Web: link})
		}
	}
	return links
}

// namesOfLinks returns the users' names of links, in their order.
func namesOfLinks(links []Link) (names []string) {
	for _, l := range links {
		names = append(names, l.User)
	}
	return names
}

// linksOf returns the links of a user, also of one that was added at run time, and notes:
// see Links. A service that does not listen has the links of one that does, with the same
// configuration. There are none if there is no such user.
func (s *Service) linksOf(ctx context.Context, name string) (links []admin.Link, notes []string, err error) {
	secrets, config := s.linkSecretsOf(name), s.current()
	endpoints := s.endpoints()
	if len(s.listeners.list()) == 0 {
		if endpoints, err = config.endpoints(); err != nil {
			return nil, nil, err
		}
	}
	m := thisMachine()
	r := m.find(ctx, config.Public, endpoints, domainsOf(secrets))
	for _, secret := range secrets {
		links = append(links, mtproxy.Link{Server: r.host, Port: r.port, Secret: secret})
		if link, ok := config.webLink(secret); ok {
			links = append(links, link)
		}
	}
	notes = append(r.notes, s.webNotes(ctx, &config, m, r)...)
	return links, append(notes, noteStopped(s.policy, []string{name})...), nil
}

// linkSecretsOf returns the secrets of a user as they are in links.
func (s *Service) linkSecretsOf(name string) (secrets []mtproxy.Secret) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	for i := range s.limited {
		if s.limited[i].Name != name {
			continue
		}
		secrets = slices.Clone(s.limited[i].Secrets)
		if s.kept != nil && i == 0 {
			secrets = secrets[:1]
		}
	}
	for i := range secrets {
		secrets[i] = s.linkSecret(secrets[i])
	}
	return secrets
}

// newSecret returns a fresh secret like that of NewSecret. Without a configured domain it
// has that of the first user, so that the links of one proxy have one.
func (s *Service) newSecret() (mtproxy.Secret, error) {
	s.reloading.Lock()
	config := s.config
	if config.Domain == "" && config.Modes&mtproxy.EE != 0 && len(s.limited) > 0 && len(s.limited[0].Secrets) > 0 {
		config.Domain = Domain(s.limited[0].Secrets[0].Domain)
	}
	s.reloading.Unlock()
	return NewSecret(config)
}

// linkedSecrets returns the secrets of a user that have links, or if the name is "" those of
// all users, each with its user's name: all, but of those of the first run's user the first.
func (s *Service) linkedSecrets(name string) iter.Seq2[string, mtproxy.Secret] {
	return func(yield func(string, mtproxy.Secret) bool) {
		now := time.Now()
		for i := range s.limited {
			user := &s.limited[i]
			if name != "" && user.Name != name {
				continue
			}
			secrets := user.SecretsAt(now)
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
	for _, ln := range s.listeners.list() {
		if address, err := netip.ParseAddrPort(ln.Addr().String()); err == nil { // otherwise a Unix socket
			network := cmp.Or(ln.address.Network, "tcp")
			if address.Addr().Is4() {
				network = "tcp4" // also if the system has no IPv6
			}
			endpoints = append(endpoints, endpoint{network, address.Addr(), address.Port()})
		}
	}
	return endpoints
}

// domains returns the domains of the secrets in links of a user, or of all users if the name
// is "", each once.
func (s *Service) domains(name string) []string {
	var secrets []mtproxy.Secret
	for _, secret := range s.linkedSecrets(name) {
		secrets = append(secrets, s.linkSecret(secret))
	}
	return domainsOf(secrets)
}

// domainsOf returns the domains of secrets, each once.
func domainsOf(secrets []mtproxy.Secret) (domains []string) {
	for _, secret := range secrets {
		if domain := strings.ToLower(secret.Domain); domain != "" && !slices.Contains(domains, domain) {
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
	if len(c.Listen)+len(c.Inherited) == 0 {
		return nil // checkListen returns the error of that
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
