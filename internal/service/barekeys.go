package service

import (
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
)

// findDomain sets and returns the domain of clients that use FakeTLS with a secret
// without one, "" for none: the configured one, or DefaultDomain if a link's secret
// allows nothing but FakeTLS in these modes.
func (s *Service) findDomain() (string, error) {
	c := &s.config
	needed, wanted := false, false // by a secret without a domain, or by one with this domain
	for _, secret := range s.linkedSecrets("") {
		wanted = wanted || secret.Mode != mtproxy.FakeTLS || strings.EqualFold(secret.Domain, string(c.Domain))
		needed = needed || secret.Mode != mtproxy.FakeTLS && secret.Modes()&c.Modes == mtproxy.EE
	}
	switch {
	case c.Domain == "" && needed:
		s.domain = c.defaultDomain()
	case c.Domain == "":
	case c.Modes&mtproxy.EE == 0:
		return "", configError("domain", "only ee clients have one, and modes is %v", c.Modes)
	case !wanted:
		return "", configError("domain", "every ee secret contains its own, and there is no other secret")
	default:
		s.domain = string(c.Domain)
	}
	return s.domain, nil
}

// linkSecret returns secret as it is in a link, so that clients with the link use a
// mode that the proxy allows: with the domain if there is one and FakeTLS is allowed,
// and with dd if classic is not allowed.
func (s *Service) linkSecret(secret mtproxy.Secret) mtproxy.Secret {
	modes := secret.Modes() & s.config.Modes
	switch {
	case secret.Mode == mtproxy.FakeTLS:
	case modes&mtproxy.EE != 0 && s.domain != "":
		return mtproxy.Secret{Mode: mtproxy.FakeTLS, Key: secret.Key, Domain: s.domain}
	case modes&mtproxy.Classic == 0:
		return mtproxy.Secret{Mode: mtproxy.Padded, Key: secret.Key}
	}
	return secret
}
