package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
)

// A server that has failed is tried last for shortestPause, and for twice as long after
// each further failure, until longestPause.
const (
	shortestPause = 5 * time.Second
	longestPause  = 5 * time.Minute
)

// endpoint is a server, and its health.
type endpoint struct {
	mtwire.Endpoint
	name string

	failures int       // in a row; guarded by endpoints.mu
	until    time.Time // until then it is tried last; guarded by endpoints.mu
}

// endpoints are the servers, in the order of the configuration.
type endpoints struct {
	mu  sync.Mutex
	all []*endpoint
}

// next returns the server to try next, or nil if all have been tried: the first one that
// has not failed lately or, without one, that whose pause ends first.
func (e *endpoints) next(tried []*endpoint) (best *endpoint) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, candidate := range e.all {
		switch {
		case slices.Contains(tried, candidate):
		case !candidate.until.After(now):
			return candidate
		case best == nil || candidate.until.Before(best.until):
			best = candidate
		}
	}
	return best
}

// failed notes a failure, and recovered an answer.
func (e *endpoints) failed(ep *endpoint, log *slog.Logger, err error) {
	now := time.Now()
	e.mu.Lock()
	first := ep.failures == 0
	if !ep.until.After(now) { // otherwise several clients see the same failure
		ep.until = now.Add(min(shortestPause<<min(ep.failures, 10), longestPause))
		ep.failures++
	}
	e.mu.Unlock()
	if first {
		log.Warn("a server fails", "to", ep.name, "err", err)
	}
}

func (e *endpoints) recovered(ep *endpoint, log *slog.Logger) {
	e.mu.Lock()
	failures := ep.failures
	ep.failures, ep.until = 0, time.Time{}
	e.mu.Unlock()
	if failures > 0 {
		log.Info("a server answers again", "to", ep.name, "failures", failures)
	}
}

// dial connects to the endpoint for a client that has asked for dc, or 0 for none.
func (ep *endpoint) dial(ctx context.Context, dc mtwire.DC, config *mtwire.DialConfig) (*mtwire.Conn, error) {
	to := ep.Endpoint
	if dc != 0 {
		to.DC = dc
	}
	if to.Address == "" && to.DC == 0 {
		to.DC = mtwire.DefaultDC
	}
	return mtwire.DialEndpoint(ctx, to, config)
}

// errTried means that every server has failed.
var errTried = errors.New("no server answers")
