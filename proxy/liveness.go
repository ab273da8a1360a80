package proxy

import (
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	// DefaultKeepAlive is the default of Config.KeepAlive. An active client sends
	// something about every minute, and one in the background every few minutes.
	// Probes begin after that, because each wakes a phone's radio. A client that
	// vanished is detected after another DefaultPeerTimeout.
	DefaultKeepAlive = 5 * time.Minute

	// DefaultPeerTimeout is the default of Config.PeerTimeout. Telegram's clients
	// give up a connection without an answer much earlier, and connect again.
	// Without a limit, Linux retransmits for 15 minutes, and a client that reads
	// nothing holds its session for ever.
	DefaultPeerTimeout = 2 * time.Minute

	keepAliveInterval = 30 * time.Second
	keepAliveCount    = 4 // where there is no PeerTimeout
)

// liveness returns how clients and data centres that are gone are noticed: by the
// kernel, and by the relay.
func (c *Config) liveness() (l netx.Liveness, writeTimeout time.Duration) {
	l = netx.Liveness{Idle: c.KeepAlive, Interval: keepAliveInterval, Count: keepAliveCount, UserTimeout: c.PeerTimeout}
	if c.KeepAlive == 0 {
		l.Idle = DefaultKeepAlive
	}
	if c.PeerTimeout == 0 {
		l.UserTimeout = DefaultPeerTimeout
	}
	l.UserTimeout = max(l.UserTimeout, 0)
	return l, l.UserTimeout
}
