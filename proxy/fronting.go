package proxy

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
)

// Without a fronting host whose timeout applies, a client may be silent for this
// long. Telegram's clients keep unused connections for minutes. The limit is
// drawn for each connection, so that it is no fingerprint.
const (
	minSilence    = 5 * time.Minute
	silenceSpread = 5 * time.Minute
)

func silenceLimit() time.Duration { return minSilence + rand.N(silenceSpread) }

// fronts returns the fronting hosts: every domain of a FakeTLS secret, at its
// configured address; then those that only the configuration has. The first is
// for unauthenticated clients that name none of them.
func fronts(config *Config, users []User) (hosts []fronting.Host, err error) {
	addresses := make(map[string]string)
	for domain, address := range config.Fronts {
		addresses[strings.ToLower(domain)] = address
	}
	added := make(map[string]bool)
	add := func(domain, address string) {
		if !added[domain] {
			added[domain] = true
			hosts = append(hosts, fronting.Host{Domain: domain, Address: address})
		}
	}
	for _, user := range users {
		for _, secret := range user.Secrets {
			if domain := strings.ToLower(secret.Domain); domain != "" {
				add(domain, cmp.Or(addresses[domain], addresses[""]))
			}
		}
	}
	if address := addresses[""]; address != "" && len(hosts) == 0 {
		// No secret has a domain, and there is a host all the same.
		host, _, err := netx.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		add(strings.ToLower(host), address)
	}
	for _, domain := range slices.Sorted(maps.Keys(addresses)) {
		if domain != "" {
			add(domain, addresses[domain])
		}
	}
	return hosts, nil
}

// stopMirror stops the mirror and returns its connection to the host, nil if there
// is none. It may be called again.
func (s *session) stopMirror() *fronting.Preconnected {
	if s.mirror == nil {
		return nil
	}
	m := s.mirror
	s.mirror = nil
	return m.stop()
}

// reject ends the session of a client that is not authenticated: it tunnels the
// client to its fronting host, over host if that is connected already, unless the
// client is gone or has been answered. It returns the session's end.
func (s *session) reject(ctx, handshakeCtx context.Context, h *handshake.Handshake, host *fronting.Preconnected, err error) error {
	if h.Transport().FakeTLS {
		return err
	}
	var first []byte
	var rejected *handshake.UnauthenticatedError
	switch cause := context.Cause(handshakeCtx); {
	case ctx.Err() != nil: // closed from outside
		if host != nil {
			host.Close()
		}
		return err
	case errors.As(err, &rejected) && !rejected.Answered:
		first = rejected.First
	case cause == errHostActed && h.Resumable():
		first, err = h.Abandon(), cause
	case err == io.EOF: // which the host is to see as well
		h.Abandon()
		err = errClientGone
	default:
		if cause == errNoAnswer {
			err = cause
		}
		if host != nil {
			host.Close()
		}
		return err
	}
	s.proxy.pending.Enter(&s.pending, s, s.clientAddr(), admission.Unanswered) // again, if it may not use its secret
	if host == nil && s.proxy.fronts.Empty() {
		if rejected != nil {
			rejected.Discard(ctx, s.socket)
		}
		return err
	}
	s.proxy.fronted.Enter(&s.fronted, s, s.clientAddr(), admission.Unanswered)
	tunnel := s.proxy.fronts.Tunnel
	if host != nil {
		tunnel = host.Tunnel
	}
	result, tunnelErr := tunnel(ctx, s.socket, first)
	s.mu.Lock()
	s.tunnel, s.tunnelErr = result, tunnelErr
	s.mu.Unlock()
	return err
}
