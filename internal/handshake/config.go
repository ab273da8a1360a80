package handshake

import (
	"crypto/tls"
	"io"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/wsconn"
)

// Config is what a server accepts. It must not change while it is in use and may
// serve many connections at once.
type Config struct {
	// Secrets means that there are secrets: clients are authenticated by them,
	// through FakeTLS or an init payload.
	Secrets bool

	// AllowNoSecret serves clients without a secret as well. Without it, and
	// with Secrets, plain framings, HTTP and TLS are unauthenticated.
	AllowNoSecret bool

	// FakeTLSOnly accepts FakeTLS alone. Then a client is rejected at the first
	// byte that no FakeTLS hello has in its place, without waiting for the rest
	// of an init payload.
	FakeTLSOnly bool

	// ObfuscatedFull accepts an init payload without a tag for Full, if the
	// bytes that follow can be Full's first frame.
	ObfuscatedFull bool

	// MaxLength limits incoming packets, in bytes. 0 means 16 MiB.
	MaxLength int

	// Timeout bounds the time from the first byte of a layer to its end. 0
	// means netx.UnansweredTime, drawn for each connection, a negative value no
	// limit.
	Timeout time.Duration

	// ClockWindow limits the difference of a FakeTLS client's clock from ours.
	// 0 means faketls.DefaultWindow, a negative value no limit.
	ClockWindow time.Duration

	// TLS serves wss and https. Nil means no TLS.
	TLS *tls.Config

	// WebSocket configures the upgrade; nil is fine.
	WebSocket *wsconn.ServerConfig

	// Time is the clock for FakeTLS, nil time.Now. Rand is the source of the
	// ServerHello's random parts, nil the system's.
	Time func() time.Time
	Rand io.Reader
}

// open reports whether clients without a secret are served.
func (c *Config) open() bool { return !c.Secrets || c.AllowNoSecret }

func (c *Config) timeout() time.Duration {
	if c.Timeout != 0 {
		return c.Timeout
	}
	return netx.UnansweredTime()
}

func (c *Config) now() time.Time {
	if c.Time != nil {
		return c.Time()
	}
	return time.Now()
}
