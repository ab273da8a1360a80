package route

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/resolve"
	"github.com/mtwire/mtwire/mtproxy"
)

// Keep-alive probes to data centres and upstreams detect a peer that is gone, and keep
// the state of address translation, which may expire after five minutes. The default of
// package net, 15 seconds, would cost 50,000 idle connections more than 3,000 probes a
// second, and as many replies.
const (
	keepAliveIdle     = 2 * time.Minute
	keepAliveInterval = 30 * time.Second
	keepAliveCount    = 4
)

// dialer returns the DialContext of a net.Dialer, or of connect where that can take its
// place; connect may be nil.
func dialer(connect func(context.Context, netip.AddrPort) (net.Conn, error)) resolve.DialFunc {
	dial := (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}).DialContext
	if connect == nil {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if ip, err := netip.ParseAddrPort(address); err == nil && ip.Addr().Zone() == "" && network == "tcp" {
			conn, err := connect(ctx, ip)
			if err == nil {
				// An error has no consequence: the connection works without.
				netx.SetLiveness(conn, netx.Liveness{Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount})
				return conn, nil
			}
			if !errors.Is(err, errors.ErrUnsupported) {
				return nil, err
			}
		}
		return dial(ctx, network, address)
	}
}

// connect makes one attempt: it connects to the address, through the upstream. If
// the upstream is an MTProxy, the two are the same.
func (r *Router) connect(ctx context.Context, a *attempt) (net.Conn, error) {
	u := a.upstream
	switch u.kind {
	case kindDirect:
		a.reached.Store(true) // there is no upstream to reach
		return r.config.DialContext(ctx, "tcp", a.address)
	case kindWebSocket:
		return r.dialWebSocket(ctx, a)
	case kindWEB:
		conn, err := u.streams.Open(ctx)
		if err != nil {
			return nil, err
		}
		a.accepted.Store(true)
		return stream{conn}, nil
	}
	conn, err := r.config.DialContext(ctx, "tcp", u.proxy.Server)
	if err != nil {
		return nil, err
	}
	proxied, err := r.via(ctx, conn, a)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return proxied, nil
}

// via makes the upstream's handshake on conn, the connection to it. It returns
// conn, or TLS on top of it.
func (r *Router) via(ctx context.Context, conn net.Conn, a *attempt) (net.Conn, error) {
	u := a.upstream
	if u.kind == kindMTProxy {
		// An error is a failure of the upstream, which has only one address: so
		// it does not count as reached.
		a.accepted.Store(true)
		if u.secret.Mode == mtproxy.FakeTLS {
			return conn, faketls.Client(conn, &faketls.ClientConfig{
				Key: u.secret.Key, Domain: u.secret.Domain, Time: r.config.Time, Rand: r.config.Rand,
			}).Handshake(ctx)
		}
		return conn, nil
	}
	// The result is the bare conn, which splice(2) needs, unless there is TLS.
	conn, err := u.proxy.Secure(ctx, conn, r.config.TLS)
	if err != nil {
		return nil, err
	}
	a.reached.Store(true)
	return conn, u.proxy.Connect(ctx, conn, a.address)
}
