package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
	"github.com/mtwire/mtwire/internal/splice"
)

// Without a fronting host whose timeout applies, a client may be silent for this
// long. Telegram's clients keep unused connections for minutes. The limit is
// drawn for each connection, so that it is no fingerprint.
const (
	minSilence    = 5 * time.Minute
	silenceSpread = 5 * time.Minute
)

func silenceLimit() time.Duration { return minSilence + rand.N(silenceSpread) }

// Front is how a fronting host is reached.
type Front struct {
	// Address is host:port, or unix:/PATH with an absolute path. Empty means the
	// domain, port 443.
	Address string

	// ProxyProtocol is the version of the PROXY protocol header with which each
	// connection to the host begins, so that the host sees the client's address.
	// The default is no header.
	ProxyProtocol ProxyProtocol
}

// ProxyProtocol is a version of the PROXY protocol.
type ProxyProtocol uint8

// The versions.
const (
	NoProxyProtocol ProxyProtocol = ProxyProtocol(proxyprotocol.None)
	ProxyProtocolV1 ProxyProtocol = ProxyProtocol(proxyprotocol.V1)
	ProxyProtocolV2 ProxyProtocol = ProxyProtocol(proxyprotocol.V2)
)

// fronts returns the fronting hosts: every domain of a FakeTLS secret, and
// config.Domain, at its configured address; then those that only the configuration has. The first is
// for unauthenticated clients that name none of them.
func fronts(config *Config, users []User) (hosts []fronting.Host, err error) {
	configured := make(map[string]Front)
	for domain, front := range config.Fronts {
		configured[strings.ToLower(domain)] = front
	}
	added := make(map[string]bool)
	add := func(domain string, front Front) {
		if !added[domain] {
			added[domain] = true
			hosts = append(hosts, fronting.Host{
				Domain: domain, Address: front.Address, ProxyProtocol: proxyprotocol.Version(front.ProxyProtocol),
			})
		}
	}
	for _, user := range users {
		for _, secret := range user.Secrets {
			if domain := strings.ToLower(secret.Domain); domain != "" {
				add(domain, cmp.Or(configured[domain], configured[""]))
			}
		}
	}
	if domain := strings.ToLower(config.Domain); domain != "" {
		add(domain, cmp.Or(configured[domain], configured[""]))
	}
	if front := configured[""]; front != (Front{}) && len(hosts) == 0 {
		// No secret has a domain, and there is a host all the same.
		network, address, err := netx.SplitNetwork(front.Address)
		if err != nil {
			return nil, fmt.Errorf("proxy: fronting host %q: %w", front.Address, err)
		}
		if network == "unix" {
			return nil, fmt.Errorf("proxy: fronting host %s: no secret has a domain, so it needs one of its own", front.Address)
		}
		host, _, _ := net.SplitHostPort(address)
		add(strings.ToLower(host), front)
	}
	for _, domain := range slices.Sorted(maps.Keys(configured)) {
		if domain != "" {
			add(domain, configured[domain])
		}
	}
	return hosts, nil
}

// frontingClient returns the client for its fronting host. Once the host has answered
// it, it is a visitor of the site, and others make room first while it moves bytes.
func (s *session) frontingClient() fronting.Client {
	client := fronting.Client{Remote: s.source, Local: addrPort(s.socket.LocalAddr()), Moved: s.visitorMoved, Answered: func() {
		s.setClass(admission.Answered)
	}}
	if !client.Remote.IsValid() {
		client.Remote = addrPort(s.socket.RemoteAddr())
	}
	return client
}

// addrPort returns a TCP address, the zero AddrPort if a is another one.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
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
// client is gone or has been answered. It returns the session's end, or errHandedOver.
func (s *session) reject(ctx, handshakeCtx context.Context, h *handshake.Handshake, host *fronting.Preconnected, err error) error {
	if h.Transport().FakeTLS {
		return err
	}
	s.withdraw()
	var first []byte
	var rejected *handshake.UnauthenticatedError
	switch cause := context.Cause(handshakeCtx); {
	case ctx.Err() != nil: // closed from outside
		if host != nil {
			host.Close()
		}
		return err
	case errors.As(err, &rejected) && !rejected.Answered:
		first, rejected.First = rejected.First, nil // the error outlives the tunnel, the bytes do not
	case (cause == errHostActed || cause == errClientGone) && h.Resumable():
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
	s.setClass(admission.Complete)
	s.proxy.pending.Enter(&s.pending, s, s.clientAddr(), admission.Complete) // again, if it may not use its secret
	if rejected != nil {
		first = s.completeHello(ctx, first)
	}
	if s.serveWeb(first, err) {
		if host != nil {
			host.Close()
		}
		return errHandedOver
	}
	if host == nil && s.proxy.fronts.Empty() {
		if rejected != nil {
			rejected.Discard(ctx, s.socket)
		}
		return err
	}
	s.enterFronted()
	ended := func(result fronting.Result, tunnelErr error) {
		s.mu.Lock()
		s.tunnel, s.tunnelErr = result, tunnelErr
		s.mu.Unlock()
		s.end(splice.Result{Err: err}, splice.Result{})
		s.cancel()
	}
	if host != nil {
		host.StartTunnel(ctx, s.socket, first, ended)
	} else {
		s.proxy.fronts.StartTunnel(ctx, s.socket, s.frontingClient(), first, ended)
	}
	return errHandedOver
}

// errHandedOver is returned for a session that something else connects or ends: its
// tunnel, or the wait for its upload.
var errHandedOver = errors.New("handed over")
