package mtwiretest

import (
	"crypto/tls"
	"net"

	"github.com/mtwire/mtwire/internal/loopback"
)

// Certificate makes a self-signed certificate for localhost and the loopback
// addresses. It returns the server's configuration and that of a client which
// trusts the certificate.
func Certificate() (server, client *tls.Config, err error) { return loopback.Certificate() }

// Pair returns both ends of a TCP connection over loopback.
func Pair() (client, server *net.TCPConn, err error) { return loopback.Pair() }
