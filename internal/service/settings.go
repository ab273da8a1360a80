package service

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/service/netlist"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// settingsChange is another configuration for a service that listens. Everything that can
// fail was done by prepareSettings, and commit is called.
type settingsChange struct {
	service      *Service
	next         Config
	found        *Service // has the users of next
	proxy        *proxy.Change
	web          *webChange
	listeners    *listenersChange
	webListeners *listenersChange
	allow, block *netlist.List
}

// withFixed returns c with the settings of now that take a restart. They are those that
// the process is begun with: its files, its log and the listeners for operators, and how
// all of its sockets are opened. docs/config.md has the reasons.
func (c Config) withFixed(now *Config) Config {
	c.State, c.ReusePort = now.State, now.ReusePort
	c.Admin, c.AdminTokenFile, c.MetricsUsers = now.Admin, now.AdminTokenFile, now.MetricsUsers
	c.LogFile, c.LogJSON, c.PrintLinks = now.LogFile, now.LogJSON, now.PrintLinks
	c.Inherited, c.Version, c.Level = now.Inherited, now.Version, now.Level
	c.TakeoverSocket = now.TakeoverSocket
	return c
}

// prepareSettings checks next, which has the settings of s.config that take a restart,
// reads its files, and listens on its new addresses. Under reloading.
func (s *Service) prepareSettings(ctx context.Context, next Config) (_ *settingsChange, err error) {
	c := &settingsChange{service: s, next: next}
	defer func() {
		if err != nil {
			c.rollback()
		}
	}()
	if c.allow, c.block, err = next.loadLists(); err != nil {
		return nil, err
	}
	if c.found, err = s.findAgain(next); err != nil {
		return nil, err
	}
	config, err := next.composeProxy(users.Proxies(c.found.limited), c.found.domain, s.log)
	if err != nil {
		return nil, err
	}
	if c.web, err = s.web.prepare(&next, s.rates.giveBack); err != nil {
		return nil, err
	}
	config.Web = s.web.proxySite(&c.web.next, next.Web)
	c.web.next.addFront(&config, next.Web)
	if c.proxy, err = s.proxy.Prepare(config); err != nil {
		return nil, err
	}
	if c.listeners, err = s.prepareListeners(ctx, &s.listeners, "listen", next.Listen); err != nil {
		return nil, err
	}
	if c.webListeners, err = s.prepareListeners(ctx, s.web, "web-listen", next.WebListen); err != nil {
		return nil, err
	}
	return c, nil
}

// rollback closes what prepareSettings has opened before it failed.
func (c *settingsChange) rollback() {
	if c.web != nil {
		c.web.rollback()
	}
	if c.listeners != nil {
		c.listeners.rollback()
	}
}

// composeProxy returns the proxy's configuration for c, with these users. domain is of
// those whose secrets have none.
func (c *Config) composeProxy(users []proxy.User, domain string, log *slog.Logger) (proxy.Config, error) {
	config, err := c.proxyConfig()
	if err != nil {
		return config, err
	}
	config.Users, config.Domain = users, domain
	if front := config.Fronts[""].Address; strings.HasPrefix(front, netx.UnixPrefix) && domain == "" && !slices.ContainsFunc(users, hasDomain) {
		return config, configError("front", "no secret has a domain, so it needs one of its own: DOMAIN=%s", front)
	}
	config.Upstreams, err = c.upstreamList(log)
	return config, err
}

// hasDomain reports whether a user has a FakeTLS secret.
func hasDomain(user proxy.User) bool {
	return slices.ContainsFunc(user.Secrets, func(s mtproxy.Secret) bool { return s.Domain != "" })
}

// commit puts the configuration in force, for the clients that connect from then on: see
// proxy.Change.Apply. Under reloading.
func (c *settingsChange) commit() {
	s := c.service
	before, limits := s.config, s.proxy.Limits()
	s.config, s.domain = c.next, c.found.domain
	s.setEnding()
	s.fromFile = c.found.fromFile
	s.setLimited(c.found.limited, len(c.found.configured), c.found.leftOut)
	s.releaseConfig()
	s.policy.Set(s.limited) // before clients have the new secrets
	s.access.Set(c.allow, c.block)
	s.rates.set(c.next.MaxUnauthenticatedRate)
	c.web.commit()
	s.web.setUsers(s.limited)
	s.web.keep()
	c.proxy.Apply()
	c.listeners.commit()
	c.webListeners.commit()
	s.storeListeners()
	if s.config.Level != nil && s.config.LogLevel != before.LogLevel { // otherwise the API's stays
		s.config.Level.Set(slog.Level(s.config.LogLevel))
	}
	s.warnOfLeftOut()
	s.releaseReload()
	if s.proxy.Limits() != limits || s.config.MaxUnauthenticatedRate != before.MaxUnauthenticatedRate {
		s.logLimits()
	}
	s.lookAgain(&before)
}

// lookAgain has Run probe the data centres again if they are reached in another way, and
// look for fronting hosts that are the proxy itself. The requests of several changes are
// one.
func (s *Service) lookAgain(before *Config) {
	fields := func(c *Config) []any { return []any{c.Upstreams, c.UpstreamsFile, c.DataCenters, c.Family, c.Probe} }
	if !reflect.DeepEqual(fields(before), fields(&s.config)) {
		notify(s.probeAgain)
	}
	notify(s.loopsAgain)
}

// notify makes the receiver of c act, once for all calls meanwhile.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
