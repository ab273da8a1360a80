package mtwiretest

import (
	"crypto/tls"

	"github.com/mtwire/mtwire/internal/loopback"
)

// Certificate makes a self-signed certificate for localhost, 127.0.0.1 and ::1,
// valid for a day. It returns the configuration of a server that presents the
// certificate and of a client that trusts it. The error is one of package crypto.
func Certificate() (server, client *tls.Config, err error) { return loopback.Certificate() }
