package proxydial

import (
	"context"
	"errors"
	"net"
	"strings"

	"golang.org/x/net/proxy"
)

// connectSOCKS5 asks the SOCKS5 proxy at the other end of conn to connect to
// address, a host name or an IP address with a port. It reads the proxy's replies
// and no byte beyond.
//
// Specification: https://www.rfc-editor.org/rfc/rfc1928
func connectSOCKS5(ctx context.Context, conn net.Conn, p Proxy, address string) error {
	var auth *proxy.Auth
	if p.User != "" {
		auth = &proxy.Auth{User: p.User, Password: p.Password}
	}
	dialer, err := proxy.SOCKS5("tcp", p.Server, auth, connected{conn})
	if err != nil {
		return err
	}
	// The result is a wrapper of conn. The caller keeps the bare conn, which
	// splice(2) needs.
	_, err = dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	if err != nil && strings.Contains(err.Error(), "authentication") {
		return authenticationError{err} // package proxy has no type for it
	}
	return err
}

// ErrAuthentication is what the error of a SOCKS5 proxy is that refuses a user, or that
// none is given.
var ErrAuthentication = errors.New("the proxy refuses the user")

// authenticationError is an error that is ErrAuthentication.
type authenticationError struct{ error }

func (authenticationError) Is(target error) bool { return target == ErrAuthentication }

// connected is a dialer that returns an existing connection.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

func (c connected) DialContext(context.Context, string, string) (net.Conn, error) {
	return c.Conn, nil
}
