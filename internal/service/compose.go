// Package service composes an MTProxy server from a configuration, and runs it.
// The caller parses the configuration, from flags or a file, and prints the result.
//
//	config.go     the configuration, its defaults and errors; check.go: what is wrong with one
//	addresses.go  addresses of data centres, fronting hosts and load balancers
//	secrets.go    secrets of named users; keptsecret.go: the generated one
//	secretlist.go lists with credentials: files, environment, systemd
//	barekeys.go   the modes of secrets in links, and the domain of those without
//	state.go      the state directory; addedusers.go: users that are added to it
//	replay.go     the memory of handshakes, in the state directory
//	compose.go    from a configuration to a proxy
//	website.go    the web site of a WEB proxy; changewebsite.go: another one meanwhile;
//	              servewebsite.go: its certificate, streams and listeners
//	listen.go     addresses to listen on, TCP and Unix sockets
//	listeners.go  the listeners, which come and go: relisten.go
//	inherited.go  sockets of systemd; handover.go: restarts that refuse no connection
//	upgrading.go  upgrades, which move sessions; handedover.go: listeners of an upgrade
//	carried.go    what moves in an upgrade besides; pace.go: how fast sessions move
//	takeoversocket.go  upgrades to processes that this one does not start
//	watchdog.go   the watchdog of systemd; fdstore.go: its store for listeners
//	links.go      tg://proxy links
//	weblinks.go   tg://webproxy links, and what keeps them from working
//	reach.go      the address in the links; publicaddress.go: a configured one;
//	              ownaddresses.go: those of this machine
//	probe.go      the data centres, tried at the start
//	frontloop.go  fronting hosts that are the proxy itself
//	memory.go     returning memory to the system; programpages_linux.go
//	limits.go     limits and usage of users, and users that are added while it runs
//	admin.go      the admin listener: metrics, health, an API; admintoken.go: its token
//	connect.go    the operator's side of that; stopped.go: of a proxy that does not run
//	run.go        serving, and graceful shutdown
//	reload.go     another configuration meanwhile; settings.go: all that it replaces
//	runtimelists.go networks that are allowed and blocked while it runs
//	lastreload.go the revision in force, and the result of the last reload
package service

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/replay"
	"github.com/mtwire/mtwire/internal/service/netlist"
	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/proxy"
)

// Service is a configured MTProxy server. New returns one, Listen and Run are
// called once each, in this order, and Close at any time.
type Service struct {
	config Config
	log    *slog.Logger
	kept   *keptSecret   // nil if there are configured secrets, or only added users
	added  []NamedSecret // to the state directory
	domain string        // of clients that use FakeTLS with a secret without one
	proxy  *proxy.Proxy
	replay *replay.Memory
	access netlist.Access // who may connect, by address
	rates  rateLimiter    // of unauthenticated connections
	policy *users.Policy
	admin  *administration                                         // nil if there is none
	reload func(permitted func() error) (reloaded bool, err error) // by ReloadWith; nil: reloadIf
	web    *website                                                // nil if there is none
	store  *store.Store                                            // nil before Listen, and without a state directory
	unkept store.Networks                                          // that were set at run time, without a state directory

	limited    []users.User        // all, with their limits; held by reloading once there are clients
	configured []users.User        // those of limited that were not added at run time, which are its first
	fromFile   int                 // how many of these, the last, are in config.Users when that is whole
	leftOut    []*users.TakenError // those that are not in limited
	secretsAt  time.Time           // by the wall clock, when the proxy's users were made of it; held as it is
	loads      int                 // store.Loads when limited was made of it

	probed    chan struct{} // closed by Run: see Probed
	listeners listenerSet   // those of config.Listen, once Listen was called
	reloads   reloads       // which configuration is in force
	reloading sync.Mutex    // held by Reload, UpdateUsers and Upgrade; protects config and domain as well
	ending    atomic.Pointer[endSettings]
	upgrade   *upgradeState     // of Upgrade
	takeover  *upgrade.Takeover // of the process before, nil if there is none
	program   upgrade.Command   // that an upgrade starts
	version   string            // config.Version, which no change of the configuration changes
	watchdog  time.Duration     // see watchdogInterval
	abandoned chan error        // gets why the process before goes on
	stored    map[string]bool   // the names of listeners that systemd keeps; under reloading

	probeAgain, loopsAgain chan struct{} // have room for one; see lookAgain
	ran                    atomic.Bool   // Run was called
	release                *time.Timer   // of memory: see releaseStart
}

// New checks config and returns a service that does not listen yet. It may read the
// state directory, and changes nothing. The service, and New already, write their
// log to log.
//
// The error is a *ConfigError if it is about one setting.
func New(config Config, log *slog.Logger) (*Service, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	s := &Service{
		config: config, log: log, probed: make(chan struct{}), replay: newReplayMemory(log),
		probeAgain: make(chan struct{}, 1), loopsAgain: make(chan struct{}, 1), release: newRelease(),
		upgrade: newUpgradeState(config.Takeover != nil), takeover: config.Takeover, program: config.Program, version: config.Version,
		watchdog: watchdogInterval(config.Takeover != nil), abandoned: make(chan error, 1),
	}
	defer beThrifty(config.hasManyUsers())()
	s.setEnding()
	s.reloads.begin()
	if err := s.findUsers(); err != nil {
		return nil, err
	}
	s.secretsAt = time.Now().Round(0)
	s.warnOfLeftOut()
	domain, err := s.findDomain()
	if err != nil {
		return nil, err
	}
	proxyConfig, err := config.composeProxy(users.Proxies(s.limited), domain, log)
	if err != nil {
		return nil, err
	}
	s.policy = users.New(users.Config{Log: log, Time: wallClock})
	s.policy.Set(s.limited)
	proxyConfig.Policy = s.policy
	proxyConfig.Log, proxyConfig.Replay = log, s.replay
	proxyConfig.ReleaseMemory = releaseMemory
	allow, block, err := config.loadLists()
	if err != nil {
		return nil, err
	}
	s.access.Set(allow, block)
	s.rates.set(config.MaxUnauthenticatedRate)
	proxyConfig.Permit = s.permit
	proxyConfig.Traces = append(proxyConfig.Traces, s.rates.trace())
	if s.admin, err = s.newAdministration(); err != nil {
		return nil, err
	}
	if s.admin != nil {
		proxyConfig.Traces = append(proxyConfig.Traces, s.admin.metrics.Trace())
	}
	if s.kept != nil {
		proxyConfig.Traces = append(proxyConfig.Traces, &proxy.Trace{Authenticated: s.kept.authenticated})
	}
	if s.web, err = s.newWebsite(); err != nil {
		return nil, err
	}
	parts := s.web.parts()
	proxyConfig.Web = s.web.proxySite(&parts, config.Web)
	parts.addFront(&proxyConfig, config.Web)
	if s.proxy, err = proxy.New(proxyConfig); err != nil {
		s.web.close()
		return nil, err
	}
	s.web.setUsers(s.limited)
	s.admin.watch(s)
	return s, nil
}

var errAddress = errors.New("the lists of networks do not permit the address")

// permit is the proxy's Permit.
func (s *Service) permit(address netip.Addr) error {
	if !s.access.Permits(address) {
		return errAddress
	}
	return s.rates.take(address)
}

// Access returns what the lists of networks have counted.
func (s *Service) Access() netlist.Counts { return s.access.Counts() }

// findUsers sets the users: those of the configured secrets and of the configuration
// file, or else those of the state directory, of which keep has still to write the first
// if it is new; and those that were added at run time.
func (s *Service) findUsers() error {
	stored := s.config.readStored(s.log)
	list, err := s.findConfigured(len(stored) > 0)
	if err != nil {
		return err
	}
	configured, err := s.config.limited(list)
	if err != nil {
		return err
	}
	s.fromFile = len(s.config.Users)
	return s.limit(configured, stored)
}

// findConfigured returns the users that were not added at run time. Others means that
// there are such ones.
func (s *Service) findConfigured(others bool) ([]proxy.User, error) {
	secrets, err := s.config.secretList(s.log)
	if err != nil {
		return nil, err
	}
	if len(secrets)+len(s.config.Users) == 0 {
		return s.findKeptUsers(others)
	}
	list, err := usersOf(secrets)
	if err != nil {
		return nil, err
	}
	list, wrong := s.config.fileUsers(list, s.log)
	if len(wrong) > 0 {
		return nil, wrong[0]
	}
	return list, nil
}

// keep writes to the state directory what outlives the run. It comes after all that
// may fail, so that a command line that is wrong leaves nothing behind.
func (s *Service) keep() error {
	defer beThrifty(s.config.hasManyUsers())()
	if err := s.config.keepHandshakes(s.replay.Keep, s.log); err != nil {
		return err
	}
	configured, stored := s.configured, []users.User(nil)
	if s.kept != nil {
		if err := s.kept.keep(&s.config, s.log); err != nil {
			return err
		}
		// Another process may have been faster, with another secret.
		list, err := s.keptUsers()
		if err != nil {
			return err
		}
		if configured, err = s.config.limited(list); err != nil {
			return err
		}
	}
	s.web.keep()
	s.config.checkCertificates(s.log)
	if s.openStore(); s.store != nil {
		stored = s.store.Users()
	}
	if err := s.limit(configured, stored); err != nil {
		return err
	}
	return s.setUsers()
}

// proxyConfig returns the proxy's configuration, without users and log. It depends
// on c alone, so that the results for two configurations can be compared with
// reflect.DeepEqual.
func (c *Config) proxyConfig() (proxy.Config, error) {
	config := proxy.Config{
		Modes:           c.Modes,
		ClockWindow:     c.ClockWindow,
		Fronts:          make(map[string]proxy.Front),
		DataCenters:     make(map[datacenter.DC][]string),
		DefaultDC:       c.DefaultDC,
		Family:          c.Family,
		Upstreams:       c.Upstreams,
		DisableFastMode: !c.FastMode,
		DialTimeout:     c.DialTimeout,
		StallTimeout:    c.StallTimeout,
		KeepAlive:       c.KeepAlive,
		PeerTimeout:     c.PeerTimeout,
		LogClients:      c.LogClients,

		DisableConnectionLog: !c.LogConnections,

		MaxUnauthenticated: c.MaxUnauthenticated,
		MaxFronted:         c.MaxFronted,

		MaxUnauthenticatedPerAddress: c.MaxUnauthenticatedPerAddress,

		SearchProcessors: c.SearchProcessors,
	}
	if c.ClockWindow <= 0 {
		config.ClockWindow = -1 // 0 means the default there
	}
	if c.StallTimeout <= 0 {
		config.StallTimeout = -1
	}
	if c.KeepAlive <= 0 {
		config.KeepAlive = -1
	}
	if c.PeerTimeout <= 0 {
		config.PeerTimeout = -1
	}
	for _, peer := range c.TrustedPeers {
		if peer.Unix {
			config.TrustUnixSockets = true
		} else {
			config.TrustedProxies = append(config.TrustedProxies, peer.Network)
		}
	}
	for _, front := range c.Fronts {
		if before, ok := config.Fronts[front.Domain]; ok {
			return config, configError("front", "%v and %v are for the same domain", FrontAddress{front.Domain, before}, front)
		}
		config.Fronts[front.Domain] = front.Front
	}
	for _, d := range c.DataCenters {
		config.DataCenters[d.DC] = append(config.DataCenters[d.DC], d.Address)
	}
	if dc := c.DefaultDC; dc != 0 {
		_, known := datacenter.Lookup(dc)
		if !known && config.DataCenters[dc] == nil && config.DataCenters[-dc] == nil && config.DataCenters[0] == nil {
			return config, configError("default-dc", "no data centre has number %d: want one of the public table, or of dc", dc)
		}
	}
	return config, nil
}
