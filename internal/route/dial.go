package route

import (
	"context"
	"net"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtproxy"
)

// connect makes one attempt: it connects to the address, through the upstream. If
// the upstream is an MTProxy, the two are the same.
func (r *Router) connect(ctx context.Context, a *attempt) (net.Conn, error) {
	u := a.upstream
	if u.kind == kindDirect {
		a.reached.Store(true) // there is no upstream to reach
		return r.config.DialContext(ctx, "tcp", a.address)
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
