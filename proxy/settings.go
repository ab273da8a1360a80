package proxy

import (
	"fmt"
	"slices"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/mtproxy"
)

// settings are a configuration with its defaults filled in, and what is made of it. They
// are immutable, and every snapshot of the users refers to those in force: so a
// connection is authenticated with users and settings that belong together, and one
// atomic pointer is all that a connection reads.
type settings struct {
	Config // without Users

	trust        proxyprotocol.Trust
	readsHeaders bool // trust has any peer
	router       *route.Router
	loops        *loops        // the proxy's; nil if no upstream is an MTProxy
	liveness     netx.Liveness // of authenticated clients
	writeTimeout time.Duration // of the relay
}

// newSettings checks config, but for the users and the fronting hosts, which depend on
// each other.
func (p *Proxy) newSettings(config Config) (*settings, error) {
	if config.Modes == 0 {
		config.Modes = mtproxy.AllModes
	}
	if config.StallTimeout == 0 {
		config.StallTimeout = DefaultStallTimeout
	}
	if err := config.checkLimits(); err != nil {
		return nil, err
	}
	if err := config.Web.check(); err != nil {
		return nil, err
	}
	config.defaultLimits(p.descriptors)
	config.Users = nil
	s := &settings{Config: config}
	s.liveness, s.writeTimeout = config.liveness()
	s.trust.Unix = config.TrustUnixSockets
	s.readsHeaders = config.TrustUnixSockets || len(config.TrustedProxies) > 0
	for _, network := range config.TrustedProxies {
		if err := s.trust.AddNetwork(network); err != nil {
			return nil, fmt.Errorf("proxy: trusted proxies: %w", err)
		}
	}
	if slices.ContainsFunc(config.Upstreams, func(u Upstream) bool { return u.url.IsMTProxy() }) {
		s.loops = p.loops
	}
	var err error
	s.router, err = p.newRouter(&config)
	return s, err
}

// settings returns those in force.
func (p *Proxy) settings() *settings { return p.users.Load().settings }

// dialer returns what dials data centres with the settings.
func (p *Proxy) dialer(s *settings) route.Outbound {
	if p.outbound != nil {
		return p.outbound
	}
	return s.router
}
