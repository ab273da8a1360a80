package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// request sends req_pq_multi to an endpoint and waits for resPQ.
func request(t *testing.T, url string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := mtwire.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	var nonce [16]byte
	if err := conn.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		return err
	}
	p, err := conn.Receive(ctx)
	if err != nil {
		return err
	}
	return mtwiretest.CheckResPQ(p.Payload, nonce)
}

// urlOf returns the endpoint of a client with a link: official clients use their own
// framing, which is abridged or intermediate, with a secret without prefix.
func urlOf(link mtproxy.Link) string {
	if link.Secret.Mode == mtproxy.Plain {
		return fmt.Sprintf("tcp://%s?protocol=abridged&secret=%v", link.Addr(), link.Secret)
	}
	return link.String()
}

// configOf returns a change of a configuration: secrets without names, modes, a
// domain, and a fronting host that does not exist.
func configOf(t *testing.T, modes mtproxy.Modes, domain string, secrets ...string) func(*Config) {
	return func(c *Config) {
		c.Secrets = nil
		for _, secret := range secrets {
			c.Secrets = append(c.Secrets, NamedSecret{Secret: secretOf(t, secret)})
		}
		c.Modes, c.Domain = modes, Domain(domain)
		c.Fronts = []FrontAddress{unmarshal[FrontAddress](t, "127.0.0.1:1")}
	}
}

// Every link is accepted by the proxy that prints it, or the proxy does not start: all
// secrets in all modes, with a domain and without one.
func TestEveryLinkIsAcceptedByItsProxy(t *testing.T) {
	for name, text := range map[string]string{"plain": mtwiretest.PlainSecret, "dd": mtwiretest.PaddedSecret, "ee": mtwiretest.FakeTLSSecret} {
		secret := secretOf(t, text)
		for modes := mtproxy.Modes(1); modes <= mtproxy.AllModes; modes++ {
			for _, domain := range []string{"", "site.example"} {
				t.Run(fmt.Sprint(name, " ", modes, " ", domain), func(t *testing.T) {
					change := configOf(t, modes, domain, text)
					if modes&secret.Modes() == 0 || domain != "" && (modes&mtproxy.EE == 0 || secret.Mode == mtproxy.FakeTLS) {
						config := testConfig(t)
						change(&config)
						if _, err := New(config, discard); err == nil {
							t.Error("no error")
						}
						return
					}
					r := run(t, change)
					links := linksOf(r.Service)
					if len(links) != 1 || domain != "" && links[0].Secret.Domain != domain {
						t.Fatal(links)
					}
					if err := request(t, urlOf(links[0].Link)); err != nil {
						t.Errorf("%v: %v", links[0].Secret, err)
					}
				})
			}
		}
	}
}

// A key that was another proxy's works with every link that was given out for it:
// without prefix, with dd, and with ee and the domain. Unauthenticated clients get to
// the domain's fronting host.
func TestLinksOfOtherProxiesWorkBesideADomain(t *testing.T) {
	r := run(t, configOf(t, mtproxy.AllModes, "site.example", mtwiretest.PlainSecret, "dd0f0e0d0c0b0a09080706050403020100"))
	links := linksOf(r.Service)
	for i, user := range r.limited {
		if links[i].Secret != (mtproxy.Secret{Mode: mtproxy.FakeTLS, Key: user.Secrets[0].Key, Domain: "site.example"}) {
			t.Errorf("the link of user %s has %v", user.Name, links[i].Secret)
		}
		key := user.Secrets[0].Key
		for _, secret := range []mtproxy.Secret{
			{Mode: mtproxy.Plain, Key: key}, {Mode: mtproxy.Padded, Key: key},
			{Mode: mtproxy.FakeTLS, Key: key, Domain: "Site.example"}, {Mode: mtproxy.FakeTLS, Key: key, Domain: "other.example"},
		} {
			if secret.Modes()&^user.Secrets[0].Modes() != 0 {
				continue // the secret's own prefix excludes it
			}
			link := links[i].Link
			link.Secret = secret
			if err := request(t, urlOf(link)); err != nil {
				t.Errorf("%v: %v", secret.Redacted(), err)
			}
		}
	}
}

func TestDomainThatNoSecretUsesIsAnError(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"domain: only ee clients have one, and modes is classic,dd": configOf(t, mtproxy.Classic|mtproxy.DD, "site.example", mtwiretest.PlainSecret),
		"domain: every ee secret contains its own":                  configOf(t, mtproxy.AllModes, "site.example", mtwiretest.FakeTLSSecret),
	} {
		config := testConfig(t)
		change(&config)
		var setting *ConfigError
		if _, err := New(config, discard); !errors.As(err, &setting) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// The domain of one of the secrets is one that is used.
	config := testConfig(t)
	configOf(t, mtproxy.AllModes, "Example.com", mtwiretest.FakeTLSSecret)(&config)
	s, err := New(config, discard)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// Without a domain of its own, a secret that allows nothing but FakeTLS has the
// default one.
func TestSecretsForFakeTLSAloneHaveADomain(t *testing.T) {
	for modes, want := range map[mtproxy.Modes]string{mtproxy.EE: DefaultDomain, mtproxy.Classic | mtproxy.EE: DefaultDomain, mtproxy.AllModes: ""} {
		config := testConfig(t)
		configOf(t, modes, "", mtwiretest.PaddedSecret)(&config)
		if got := linksOf(listening(t, config))[0].Secret.Domain; got != want {
			t.Errorf("%v: %q, want %q", modes, got, want)
		}
	}
}
