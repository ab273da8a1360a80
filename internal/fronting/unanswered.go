package fronting

import (
	"context"
	"fmt"
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
		u, probeSoon := h.tryAcquire()
		if probeSoon {
			p.probeNow(h)
		}
		if u != nil {
			return u, nil
		}
		if err := p.check(ctx, h); err != nil && ctx.Err() == nil {
			return nil, p.refuse(h, err)
		}
	}
	return nil, ctx.Err()
}

// tryAcquire returns nil if h is at its limit or is this proxy. It reports whether
// h is to be probed ahead of need, because most of the limit is used.
func (h *host) tryAcquire() (u *unanswered, probeSoon bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	limit := max(minUnanswered, h.allowance)
	if h.isProxy || h.unanswered >= limit {
		return nil, false
	}
	h.unanswered++
	return &unanswered{host: h}, h.unanswered >= limit/4*3 && len(h.probes) == 0
}

// probeNow returns a running probe of h, which it starts if there is none, or nil
// within probeBackoff after a probe without an answer. A probe that is started
// here takes at most DialTimeout.
func (p *Pool) probeNow(h *host) *probe {
	pr, isNew := h.startProbe()
	if isNew {
		ctx := context.Background()
		if running := p.running.Load(); running != nil {
			ctx = *running
		}
		p.probing.Go(func() {
			p.visit(ctx, h, pr, p.timeout(), func(ctx context.Context, conn *flightConn) error {
				_, err := handshake(ctx, conn, h.Domain)
				return err
			})
		})
	}
	return pr
}

// check probes h, or waits for a running probe, and returns errLoop or errSilent
// unless h answered or the probe was abandoned. If this machine could not make the probe, it
// returns the cause. It ends with the first byte of h, and takes little more than DialTimeout.
func (p *Pool) check(ctx context.Context, h *host) error {
	limit := time.NewTimer(p.timeout() + flightGap) // a probe for clients has ended by then
	defer limit.Stop()
	pr := p.probeNow(h)
	if pr != nil {
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
	case pr != nil && pr.local != nil:
		return fmt.Errorf("cannot be probed: %w", pr.local)
	case pr != nil && pr.verdict != silent:
		return nil
	case h.isProxy:
		return errLoop
	}
	return errSilent
}
