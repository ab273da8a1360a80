package loadgen

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"runtime"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtproxy"
)

// dial opens a connection and makes an echo. number is its index among concurrent
// connections.
func (t *Target) dial(ctx context.Context, number, packetSize int) (*Client, error) {
	return t.dialThrough(ctx, t.dialer(number).DialContext, packetSize)
}

// portsPerAddress is the number of connections from one local address to a server.
// Linux has 28,000 ephemeral ports by default.
const portsPerAddress = 20_000

// dialer returns the dialer of a connection. On loopback, connections beyond the
// ephemeral ports of one address have other local addresses: Linux has all of
// 127.0.0.0/8.
func (t *Target) dialer(number int) *net.Dialer {
	var dialer net.Dialer
	address, err := netip.ParseAddrPort(t.Endpoint.Address)
	if err == nil && address.Addr().Is4() && address.Addr().IsLoopback() && runtime.GOOS == "linux" {
		if more := number / portsPerAddress; more > 0 {
			dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(more>>8), byte(more)+1)}
		}
	}
	return &dialer
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialThrough is dial with a function that opens the socket.
// A WEB proxy's connections share a session, for which the function is not used.
func (t *Target) dialThrough(ctx context.Context, dial dialFunc, packetSize int) (*Client, error) {
	if t.Endpoint.Carrier == mtwire.WEB {
		return t.dialWEB(ctx, packetSize)
	}
	socket, err := dial(ctx, "tcp", t.Endpoint.Address)
	if err != nil {
		return nil, err
	}
	c, err := t.client(ctx, socket, packetSize)
	if err == nil {
		err = c.Echo(ctx)
	}
	if err != nil {
		socket.Close()
		return nil, err
	}
	return c, nil
}

// dialWEB opens a connection to a WEB proxy, and makes an echo.
func (t *Target) dialWEB(ctx context.Context, packetSize int) (*Client, error) {
	conn, err := mtwire.DialEndpoint(ctx, t.Endpoint, t.WEB)
	if err != nil {
		return nil, err
	}
	c, err := NewClient(conn, packetSize)
	if err == nil {
		err = c.Echo(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// client returns a client on socket.
func (t *Target) client(ctx context.Context, socket net.Conn, packetSize int) (*Client, error) {
	ep, stream := t.Endpoint, socket
	if ep.Secret.Mode == mtproxy.FakeTLS {
		records := faketls.Client(socket, &faketls.ClientConfig{
			Key: ep.Secret.Key, Domain: ep.Secret.Domain, Hello: t.renewedHello,
		})
		if err := records.Handshake(ctx); err != nil {
			return nil, err
		}
		// What is inside FakeTLS is the connection of a client with a padded secret.
		stream, ep.Secret = records, mtproxy.Secret{Mode: mtproxy.Padded, Key: ep.Secret.Key}
	}
	conn, err := mtwire.Client(ctx, stream, ep, nil)
	if err != nil {
		return nil, err
	}
	return NewClient(conn, packetSize)
}

// Offsets in a ClientHello in a record, which are the same in all hellos with a
// session id.
const (
	sessionIDStart = 5 + 4 + 2 + 32 + 1
	sessionIDEnd   = sessionIDStart + 32
)

// prepareHello makes the hello for a FakeTLS secret. To make one takes more CPU time
// than the proxy uses for a whole connection, so each connection sends the same one
// with another session id.
func (t *Target) prepareHello() (err error) {
	if t.Endpoint.Secret.Mode == mtproxy.FakeTLS {
		t.hello, err = faketls.AppendClientHello(nil, &faketls.ClientConfig{Domain: t.Endpoint.Secret.Domain})
	}
	return err
}

// renewedHello returns the hello with a fresh session id. Package faketls signs it.
func (t *Target) renewedHello(string) ([]byte, error) {
	hello := append([]byte(nil), t.hello...)
	rand.Read(hello[sessionIDStart:sessionIDEnd])
	return hello, nil
}
