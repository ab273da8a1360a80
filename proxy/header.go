package proxy

import (
	"fmt"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// headerTimeout bounds how long a load balancer may take to send its PROXY
// protocol header.
const headerTimeout = 10 * time.Second

// headerShares returns the limits of connections whose PROXY protocol header is awaited:
// a quarter of those of unauthenticated ones, since a header is due within a round trip,
// with a share for each load balancer. Config.MaxUnauthenticatedPerAddress is for clients,
// and does not apply.
func (c *Config) headerShares() admission.Limits {
	return shares(max(minLimit, c.MaxUnauthenticated/4))
}

// headerWait is a session whose PROXY protocol header is awaited.
type headerWait struct {
	*session
	member admission.Member
}

// Evict ends the session, which makes room for another one.
func (w *headerWait) Evict(reason *admission.EvictedError) {
	w.session.evict(fmt.Errorf("waiting for a PROXY protocol header: %w", reason))
}

// readHeader reads the PROXY protocol header of a peer that is trusted to send
// one.
func (s *session) readHeader() error {
	if settings := s.proxy.settings(); !settings.readsHeaders || s.webStream() != nil || !settings.trust.Contains(s.socket.RemoteAddr()) {
		return nil
	}
	balancer := s.clientAddr()
	if !balancer.IsValid() { // all that connect to Unix sockets share one limit
		balancer = admission.NoAddress
	}
	wait := headerWait{session: s}
	s.proxy.headers.Enter(&wait.member, &wait, balancer, admission.Silent)
	defer s.proxy.headers.Leave(&wait.member)
	s.socket.SetReadDeadline(time.Now().Add(headerTimeout))
	source, err := proxyprotocol.Read(s.socket)
	s.socket.SetReadDeadline(time.Time{})
	s.mu.Lock()
	s.source = source
	s.mu.Unlock()
	return err
}
