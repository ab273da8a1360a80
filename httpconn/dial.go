package httpconn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// dialer opens a Client's connections within a time limit. An http.Transport dials in
// goroutines of its own, in which no caller could recover from a panic.
type dialer struct {
	dialContext func(ctx context.Context, network, address string) (net.Conn, error)
	tls         *tls.Config
	timeout     time.Duration // 0 means none
}

func newDialer(config *ClientConfig) *dialer {
	d := &dialer{dialContext: config.DialContext, tls: &tls.Config{}, timeout: max(config.DialTimeout, 0)}
	if d.dialContext == nil {
		d.dialContext = new(net.Dialer).DialContext
	}
	if config.TLSClientConfig != nil {
		d.tls = netx.WithoutHTTP2(config.TLSClientConfig).Clone() // HTTP/1.1 only
	}
	if config.DialTimeout == 0 {
		d.timeout = defaultDialTimeout
	}
	return d
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return d.within(ctx, func(ctx context.Context) (net.Conn, error) { return d.dialContext(ctx, network, address) })
}

func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	return d.within(ctx, func(ctx context.Context) (net.Conn, error) {
		conn, err := d.dialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := d.tls
		if config.ServerName == "" {
			config = config.Clone()
			config.ServerName, _, _ = net.SplitHostPort(address)
		}
		complete := false
		defer func() {
			if !complete { // or there was a panic
				conn.Close()
			}
		}()
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		complete = true
		return secure, nil
	})
}

// within calls dial within the time limit, and returns a panic of dial as an error.
func (d *dialer) within(ctx context.Context, dial func(context.Context) (net.Conn, error)) (conn net.Conn, err error) {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if d.timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, d.timeout)
	}
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			conn, err = nil, fmt.Errorf("panic while dialling: %v\n\n%s", value, debug.Stack())
		}
	}()
	conn, err = dial(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no connection within %v: %w", d.timeout, os.ErrDeadlineExceeded)
	}
	return conn, err
}
