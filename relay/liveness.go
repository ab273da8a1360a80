package relay

import (
	"context"
	"net"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/netx"
)

// peerTimeout is how long a peer may acknowledge nothing of what was sent to it, where the
// system has such a limit. A network that changes ends no connection, and TCP sends again
// for a quarter of an hour. It is as long as the proxy's.
const peerTimeout = 2 * time.Minute

// withLiveness returns dial, or a net.Dialer's, with peerTimeout. A socket that refuses it
// has the system's limit.
func withLiveness(dial mtwire.DialFunc) mtwire.DialFunc {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil {
			_ = netx.SetLiveness(conn, netx.Liveness{UserTimeout: peerTimeout})
		}
		return conn, err
	}
}
