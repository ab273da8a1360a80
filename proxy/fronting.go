package proxy

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
)

// preconnectAfter is how long a client may be silent until the fronting host is
// connected for it, to behave as the host does. Telegram's clients open
// connections ahead of need, but most send sooner.
const preconnectAfter = 3 * time.Second

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

// tunnelUnauthenticated connects an unauthenticated client to its fronting host,
// until both are done. Without hosts it reads on and answers nothing.
func (s *session) tunnelUnauthenticated(ctx context.Context, e *handshake.UnauthenticatedError) {
	s.proxy.pending.enter(s, hasBytes) // again, if it has a secret that it may not use
	if s.proxy.fronts.Empty() && s.preconnected == nil {
		e.Discard(ctx, s.socket)
		return
	}
	tunnel := s.proxy.fronts.Tunnel
	if s.preconnected != nil {
		tunnel = s.preconnected.Tunnel
	}
	result, err := tunnel(ctx, s.socket, e.First)
	s.setFronted(result, err)
}

func (s *session) setFronted(result fronting.Result, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fronted, s.frontErr = result, err
}

// await waits for the client's first byte. When the client is silent for a while,
// the fronting host is connected beside it: if the host sends something or closes
// first, the client is unauthenticated and tunneled to it.
func (s *session) await(ctx context.Context, h *handshake.Handshake) error {
	if s.proxy.fronts.Empty() {
		limited, cancel := context.WithTimeout(ctx, silenceLimit())
		defer cancel()
		return h.Await(limited)
	}
	limited, cancel := context.WithTimeout(ctx, preconnectAfter)
	err := h.Await(limited)
	cancel()
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	first, err := s.raceHost(ctx, h)
	if first == clientFirst {
		return err
	}
	result, err := s.preconnected.Tunnel(ctx, s.socket, nil)
	s.setFronted(result, err)
	return errSilent
}

// firstToAct is which side of a silent connection sent something, or closed,
// first.
type firstToAct uint8

const (
	clientFirst firstToAct = iota
	hostFirst
)

// raceHost waits for the client or the host to act. If it is the client, err is
// Await's. A host that cannot be connected does nothing, and the client may be
// silent for a limited time.
func (s *session) raceHost(ctx context.Context, h *handshake.Handshake) (first firstToAct, err error) {
	hostCtx, clientActed := context.WithCancel(ctx)
	defer clientActed()
	clientCtx, hostActed := context.WithCancel(ctx)
	defer hostActed()
	waited := make(chan error, 1)
	go func() {
		var err error
		if s.preconnected, err = s.proxy.fronts.Preconnect(hostCtx, s.socket.LocalAddr()); err == nil {
			err = s.preconnected.Wait(hostCtx)
		} else {
			select {
			case <-time.After(silenceLimit()):
				hostActed()
			case <-hostCtx.Done():
			}
		}
		if err == nil {
			hostActed()
		}
		waited <- err
	}()
	err = h.Await(clientCtx)
	clientActed()
	if hostErr := <-waited; hostErr == nil && errors.Is(err, context.Canceled) && ctx.Err() == nil {
		first = hostFirst
	}
	return first, err
}

var errSilent = errors.New("the client sent nothing, and the fronting host acted first")
