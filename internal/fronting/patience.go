package fronting

import (
	"context"
	"errors"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	// DefaultPatience is how long a TLS server waits for the rest of a handshake, as
	// long as it was not measured: nginx's client_header_timeout.
	DefaultPatience = time.Minute

	// MaxPatience is the longest patience.
	MaxPatience = 5 * time.Minute

	// minPatience is the least patience: clients on slow networks must have time to
	// go on.
	minPatience = 3 * time.Second
)

// Patience returns how long the host for domain waits for a client that has its
// answer to a ClientHello and sends nothing.
func (p *Pool) Patience(domain string) time.Duration {
	h := p.choose(domain)
	if h == nil {
		return DefaultPatience
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.patience
}

// measurePatience sends a hello to h, and then nothing until h closes the
// connection, for up to MaxPatience.
func (p *Pool) measurePatience(ctx context.Context, h *host) error {
	hello, err := browserHello(h.Domain)
	if err != nil {
		return err
	}
	patience := MaxPatience
	err = p.visit(ctx, h, h.newProbe(), probeTimeout+MaxPatience, func(_ context.Context, conn *flightConn) error {
		if _, err := conn.Write(hello); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(probeTimeout))
		if err := conn.fill(); err != nil {
			return err
		}
		// The network delays the flight as much as the close.
		begin := time.Now()
		conn.SetReadDeadline(begin.Add(MaxPatience))
		for conn.total < maxFlight {
			err := conn.fill()
			if err == nil {
				continue
			}
			if !netx.IsTimeout(err) {
				patience = time.Since(begin)
			}
			return nil
		}
		return errLongFlight
	})
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.patience = max(patience, minPatience)
	return nil
}
