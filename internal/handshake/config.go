package handshake

import (
	"crypto/tls"
	"io"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/wsconn"
)

// Config configures the transports and clients that a server accepts. It must not
// change while it is in use, and may be used for many connections at once.
type Config struct {
	// Secrets means that Auth has secrets: a client must have the key of one, in a
	// FakeTLS hello or an init payload.
	Secrets bool

	// AllowNoSecret accepts clients without a secret too. Without AllowNoSecret,
	// and with Secrets, a plain framing, HTTP or TLS is unauthenticated.
	AllowNoSecret bool

	// FakeTLSOnly accepts FakeTLS only. A client is then rejected at the first byte
	// that differs from every FakeTLS hello, without a wait for the rest of an init
	// payload.
	FakeTLSOnly bool

	// ObfuscatedFull accepts an init payload without a tag for Full, if the bytes
	// behind it can be Full's first frame.
	ObfuscatedFull bool

	// MaxLength limits the length of incoming packets, in bytes. 0 means 16 MiB.
	MaxLength int

	// Timeout limits the time from the first byte of a layer to its end. 0 means
	// netx.UnansweredTime, drawn for each layer, a negative value no limit.
	Timeout time.Duration

	// ClockWindow limits the difference between the time in a FakeTLS hello and the
	// server's. 0 means faketls.DefaultWindow, a negative value no limit.
	ClockWindow time.Duration

	// TLS configures wss and https. Nil means no TLS.
	TLS *tls.Config

	// WebSocket configures the upgrade. It may be nil.
	WebSocket *wsconn.ServerConfig

	// Time is the clock for FakeTLS. Nil means time.Now. Rand is the source of the
	// ServerHello's random parts: see faketls.AppendServerHello, also for nil.
	Time func() time.Time
	Rand io.Reader
}

// open reports whether clients without a secret are accepted.
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
