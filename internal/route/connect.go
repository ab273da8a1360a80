package route

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtproxy"
)

// connect makes an attempt: a connection to the address, or to the MTProxy
// that is the way there.
func (r *Router) connect(ctx context.Context, a *attempt) (net.Conn, error) {
	w := a.way
	if w.kind == direct {
		a.reached.Store(true) // there is nothing in between
		return r.config.DialContext(ctx, "tcp", a.address)
	}
	conn, err := r.config.DialContext(ctx, "tcp", w.server)
	if err != nil {
		return nil, err
	}
	through, err := r.through(ctx, conn, a)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return through, nil
}

// through goes through an upstream, on the connection to it. It returns that
// connection, or TLS on top of it.
func (r *Router) through(ctx context.Context, conn net.Conn, a *attempt) (net.Conn, error) {
	w := a.way
	switch w.kind {
	case kindMTProxy:
		// An error is the way's and not the address's: they are the same.
		if w.secret.Mode == mtproxy.FakeTLS {
			return conn, faketls.Client(conn, &faketls.ClientConfig{
				Key: w.secret.Key, Domain: w.secret.Domain, Time: r.config.Time, Rand: r.config.Rand,
			}).Handshake(ctx)
		}
		return conn, nil
	case httpsProxy:
		secure := tls.Client(conn, r.tlsFor(w.server))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	a.reached.Store(true)
	if w.kind == socks5 {
		return conn, connectSOCKS5(ctx, conn, w.Upstream, a.address)
	}
	return conn, connectHTTP(ctx, conn, w.Upstream, a.address)
}

func (r *Router) tlsFor(server string) *tls.Config {
	config := &tls.Config{}
	if r.config.TLS != nil {
		config = r.config.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(server)
	}
	return config
}
