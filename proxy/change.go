package proxy

import (
	"slices"

	"github.com/mtwire/mtwire/internal/fronting"
)

// Change is another configuration for a proxy, which was checked: see Proxy.Prepare.
type Change struct {
	proxy    *Proxy
	settings *settings
	users    *snapshot
	hosts    []fronting.Host
}

// Prepare checks next, which is to take the place of the configuration in force, users
// included, and returns the change. Nothing changes before Change.Apply; a Change that is
// not applied needs no end. So a caller that replaces several things at once prepares all
// of them, and applies them if none has failed.
//
// What belongs to the program stays as New got it, and is ignored in next: Replay,
// DialContext, ReleaseMemory, Permit, Policy, Traces and Log. All other fields may change.
//
// The errors are those of New. Prepare does no I/O, and may be called concurrently. It
// keeps nothing of next that the caller may change, except for the maps and slices of
// Config, which must stay as they are.
func (p *Proxy) Prepare(next Config) (*Change, error) {
	next.Replay, next.DialContext, next.ReleaseMemory = p.config.Replay, p.config.DialContext, p.config.ReleaseMemory
	next.Permit, next.Policy, next.Traces, next.Log = p.config.Permit, p.config.Policy, p.config.Traces, p.config.Log
	settings, err := p.newSettings(next)
	if err != nil {
		return nil, err
	}
	users, hosts, err := p.checkUsers(next.Users, settings)
	if err != nil {
		return nil, err
	}
	return &Change{p, settings, users, hosts}, nil
}

// Reconfigure is Prepare and Apply. After an error nothing has changed.
func (p *Proxy) Reconfigure(next Config) error {
	change, err := p.Prepare(next)
	if err == nil {
		change.Apply()
	}
	return err
}

// Apply puts the configuration of the change in force. It does not fail, waits for no
// connection, and must be called once at most. The last of several changes counts, and
// replaces the users that SetUsers has set since Prepare.
//
// It closes the sessions that SetUsers would close, and no others that are authenticated:
//
//   - Connections to data centres go on, and so do dials in progress, with the addresses
//     and upstreams from before. An upstream that stays, its weight aside, keeps its
//     health; a new MTProxy is taken to serve all modes until ProbeClassic has asked it.
//   - Clients that are being authenticated are so with the configuration that was in
//     force at their first byte.
//   - If a limit of unauthenticated connections is lower than their number, those that
//     would make room for a newcomer are closed.
//   - Unauthenticated clients stay connected to the fronting host that they have. A host
//     that stays, the same in all fields, keeps what was measured; others are measured
//     soon.
//   - Connections that the web site has stay its own; a client whose hello names the new
//     one goes there from then on.
//   - KeepAlive and PeerTimeout are for clients that are authenticated, and for data
//     centres that are connected, from then on; StallTimeout for each wait that begins.
func (c *Change) Apply() {
	p := c.proxy
	p.changing.Lock()
	defer p.changing.Unlock()
	before := p.settings()
	c.settings.router.Inherit(before.router)
	p.fronts.SetLimits(c.settings.DialTimeout, maxHosted(c.settings.MaxFronted), maxHosted(c.settings.MaxFronted))
	p.search.SetProcessors(c.settings.SearchProcessors)
	p.log.setConfig(&c.settings.Config)
	if !slices.Equal(before.Upstreams, c.settings.Upstreams) {
		p.log.loops.Clear() // the next one is news
	}
	p.apply(c.users, c.hosts)
	p.setRelay()
	p.pending.SetLimits(c.settings.pendingShares())
	p.headers.SetLimits(c.settings.headerShares())
	p.fronted.SetLimits(shares(c.settings.MaxFronted))
}

// setRelay makes relay a copy of relaying with the WriteTimeout of the settings.
func (p *Proxy) setRelay() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setRelayLocked()
}

// setRelayLocked is setRelay. Under mu.
func (p *Proxy) setRelayLocked() {
	config := p.relaying
	config.WriteTimeout = p.settings().writeTimeout
	p.relay.Store(&config)
}
