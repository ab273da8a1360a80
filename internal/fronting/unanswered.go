package fronting

import (
	"context"
	"sync/atomic"
	"time"
)

// minUnanswered is how many connections a host may have that it has not
// answered before it is probed. If it answers the probe, it may have twice as
// many as it has then, and so on.
const minUnanswered = 64

// unanswered counts one connection in its host's limit until the host sends
// bytes.
type unanswered struct {
	host  *host
	ended atomic.Bool
}

// end releases the connection: the host has sent bytes, or the connection has
// ended. Further calls do nothing.
func (u *unanswered) end() {
	if u.ended.Load() || u.ended.Swap(true) {
		return
	}
	u.host.mu.Lock()
	defer u.host.mu.Unlock()
	u.host.unanswered--
}

// acquire counts a connection that is about to be made to h. At h's limit it
// blocks until a probe of h is settled.
func (p *Pool) acquire(ctx context.Context, h *host) (*unanswered, error) {
	for ctx.Err() == nil {
		if u := h.tryAcquire(); u != nil {
			return u, nil
		}
		if err := p.check(ctx, h); err != nil && ctx.Err() == nil {
			return nil, p.refuse(h, err)
		}
	}
	return nil, ctx.Err()
}

// tryAcquire returns nil if h is at its limit or is this proxy.
func (h *host) tryAcquire() *unanswered {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isProxy || h.unanswered >= max(minUnanswered, h.allowance) {
		return nil
	}
	h.unanswered++
	return &unanswered{host: h}
}

// check probes h, or waits for a running probe, and returns errLoop or errSilent
// unless h answered or the probe was abandoned. It takes at most DialTimeout.
func (p *Pool) check(ctx context.Context, h *host) error {
	limit := time.NewTimer(p.config.DialTimeout)
	defer limit.Stop()
	pr, isNew := h.startProbe()
	switch {
	case isNew:
		p.handshake(ctx, h, pr, p.config.DialTimeout)
	case pr != nil:
		select {
		case <-pr.settled:
		case <-limit.C:
			pr = nil
		case <-ctx.Done():
			pr = nil
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case pr != nil && pr.verdict != silent:
		return nil
	case h.isProxy:
		return errLoop
	}
	return errSilent
}
