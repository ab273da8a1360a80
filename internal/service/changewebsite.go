package service

import (
	"net"
	"net/netip"

	"github.com/mtwire/mtwire/internal/service/web"
)

// Another web site in place of the one before, or another one of its settings.

// webChange is what next makes of a website. One of commit and rollback is called.
type webChange struct {
	website *website
	next    webParts
	key     *webTokenKey
	server  *web.Change
	opened  []interface{ Close() error } // by prepare, for next
}

// prepare checks the settings of the web site in c, reads their files, and listens for the
// site as a fronting host. What stays the same goes on.
func (w *website) prepare(c *Config, authenticated func(netip.Addr)) (change *webChange, err error) {
	change = &webChange{website: w, key: w.key}
	defer func() {
		if err != nil {
			change.rollback()
		}
	}()
	if c.Web == "" {
		change.server, err = w.server.Prepare(web.Config{})
		return change, err
	}
	before := w.parts()
	if err := change.findCertificate(c, &before); err != nil {
		return change, err
	}
	next := &change.next
	// A directory's name may lead to another one by now.
	if next.carrier, next.where, next.site = c.WebCarrier, c.WebSite, before.site; next.site == nil || before.where != c.WebSite || next.site.IsDirectory() {
		if next.site, err = web.NewSite(c.WebSite, w.log); err != nil {
			return change, &ConfigError{"web-site", err}
		}
		change.opened = append(change.opened, next.site)
	}
	if change.key == nil {
		if change.key, err = c.readWebTokenKey(); err != nil {
			return change, err
		}
	}
	if next.local = before.local; c.servesWeb() && next.local == nil {
		if next.local, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return change, err
		}
		change.opened = append(change.opened, next.local)
	} else if !c.servesWeb() {
		next.local = nil
	}
	config := web.Config{
		Host: string(c.Web), Path: string(c.WebPath), Site: next.site, TokenKey: change.key.key, Authenticated: authenticated,
		MaxLocal: 2 * c.MaxFronted, // those that were evicted this moment may be there still
	}
	for _, peer := range c.WebForwardedFrom {
		if peer.Unix {
			config.ForwardedFrom.Unix = true
		} else if err := config.ForwardedFrom.AddNetwork(peer.Network); err != nil {
			return change, &ConfigError{"web-forwarded-from", err}
		}
	}
	switch {
	case next.files != nil:
		config.Certificate = next.files.Certificate
	case next.acme != nil:
		config.Certificate, config.Protocols = next.acme.Certificate, []string{web.ChallengeProtocol}
	}
	change.server, err = w.server.Prepare(config)
	return change, err
}

// findCertificate sets where the certificate is from. One that is from the same files, or
// from the same account of an ACME server, goes on.
func (change *webChange) findCertificate(c *Config, before *webParts) (err error) {
	next, log := &change.next, change.website.log
	switch {
	case c.WebCert != "" && before.files.Are(c.WebCert, c.WebKey, string(c.Web)):
		next.files = before.files
	case c.WebCert != "":
		next.files, err = c.loadCertificate(log)
	case len(c.WebListen) == 0:
		if next.issuing, err = c.acmeConfig(log); err != nil {
			return err
		}
		if next.acme = before.acme; next.acme == nil || next.issuing != before.issuing {
			if next.acme, err = web.NewACME(next.issuing); err != nil {
				err = &ConfigError{"state", err}
			}
		}
	}
	return err
}

// commit puts the change in force. If host and path stay, the sessions of clients go on. The
// caller calls setUsers.
func (change *webChange) commit() {
	w := change.website
	w.mu.Lock()
	before := w.webParts
	w.webParts = change.next
	ended := w.ended
	if !ended && w.local != before.local && w.serve != nil {
		w.startLocal()
	}
	change.server.Apply()
	if w.files != before.files || w.acme != before.acme {
		w.runCertificate()
	}
	w.mu.Unlock()
	if ended {
		change.rollback()
	}
	if before.local != nil && before.local != change.next.local {
		before.local.Close()
	}
	// A site of before may have requests: the collector closes its directory.
	w.key = change.key
	if change.next.files != nil && change.next.files == before.files {
		change.next.files.Reload()
	}
}

// rollback closes what prepare has opened.
func (change *webChange) rollback() {
	for _, c := range change.opened {
		c.Close()
	}
}
