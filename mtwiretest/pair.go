package mtwiretest

import (
	"net"

	"github.com/mtwire/mtwire/internal/loopback"
)

// Pair returns both ends of a TCP connection over loopback. The caller closes
// them. The error is that of listening or of connecting.
func Pair() (client, server *net.TCPConn, err error) { return loopback.Pair() }
