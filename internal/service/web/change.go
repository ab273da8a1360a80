package web

import (
	"crypto/tls"
	"net/http"

	"github.com/mtwire/mtwire/webproxy"
)

// settings is a configuration in force.
type settings struct {
	Config
	relay *webproxy.Server // nil without a host
	tls   *tls.Config      // likewise
}

// newSettings returns the settings of a configuration, with the relay of those before if
// that may go on.
func (s *Server) newSettings(config Config, before *settings) (*settings, error) {
	next := &settings{Config: config}
	if config.Host == "" {
		return next, nil
	}
	next.tls = &tls.Config{
		GetCertificate: config.Certificate,
		NextProtos:     append([]string{"h2", "http/1.1"}, config.Protocols...),
	}
	if before.hasRelayOf(&config) {
		next.relay = before.relay
		return next, nil
	}
	var err error
	next.relay, err = webproxy.NewServer(webproxy.ServerConfig{
		Host: config.Host, Path: config.Path, TokenKey: config.TokenKey, Logger: config.Log,
		Site: http.HandlerFunc(s.serveSite), Authenticated: s.authenticated, ClientAddr: clientAddr,
	})
	return next, err
}

// hasRelayOf reports whether the relay of s is that of a configuration: its clients have the
// same capabilities.
func (s *settings) hasRelayOf(config *Config) bool {
	return s != nil && s.relay != nil && s.Host == config.Host && s.Path == config.Path && s.TokenKey == config.TokenKey
}

// Change is another configuration for a server. One that is not applied needs no end.
type Change struct {
	server *Server
	next   *settings
}

// Prepare checks a configuration that is to take the place of the one in force. Log stays as
// New got it.
func (s *Server) Prepare(config Config) (*Change, error) {
	config.Log = s.log
	next, err := s.newSettings(config, s.current.Load())
	if err != nil {
		return nil, err
	}
	return &Change{s, next}, nil
}

// Apply puts the change in force, for the connections and requests from then on. If host and
// path are those from before, the sessions of clients go on. Otherwise they end, and the
// relay has no users until SetUsers is called. Apply is called once at most, before another
// change is prepared.
func (c *Change) Apply() {
	s := c.server
	s.mu.Lock()
	before := s.current.Swap(c.next)
	changed := before.relay != c.next.relay
	switch {
	case changed && s.ctx.Err() != nil && c.next.relay != nil:
		c.next.relay.Close()
	case changed && s.streams != nil:
		s.streams.start(c.next.relay)
	}
	s.mu.Unlock()
	s.local.SetLimits(c.next.localLimits())
	if changed && before.relay != nil {
		before.relay.Close()
	}
}
