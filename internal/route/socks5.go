package route

import (
	"context"
	"net"

	"golang.org/x/net/proxy"
)

// connectSOCKS5 asks the SOCKS5 proxy at the other end of conn for a
// connection to address, a host name or an IP address. It reads its answer and
// no byte more.
func connectSOCKS5(ctx context.Context, conn net.Conn, u Upstream, address string) error {
	var auth *proxy.Auth
	if u.user != "" {
		auth = &proxy.Auth{User: u.user, Password: u.password}
	}
	dialer, err := proxy.SOCKS5("tcp", u.server, auth, connected{conn})
	if err != nil {
		return err
	}
	// What it returns is conn in a type of its own. conn itself is wanted: the
	// kernel can move bytes from socket to socket.
	_, err = dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	return err
}

// connected is a dialer for what has been dialled already.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

func (c connected) DialContext(context.Context, string, string) (net.Conn, error) {
	return c.Conn, nil
}
