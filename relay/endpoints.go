package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
)

// A server that has failed is tried last for shortestPause, and for twice as long after
// each further failure, until longestPause.
const (
	shortestPause = 5 * time.Second
	longestPause  = 5 * time.Minute
)

// endpoint is a server, or the data centres over one carrier.
type endpoint struct {
	mtwire.Endpoint
	name string

	// Guarded by endpoints.mu.
	weight  int                   // 0: the first one is preferred
	health  map[mtwire.DC]*health // of the server, or of each data centre
	current int                   // of the smooth weighted round robin
}

// health is what is known of a server.
type health struct {
	failures int       // in a row
	until    time.Time // until then it is tried last
	trial    bool      // one client tries it after its pause
}

// endpoints are the servers, in the order of the configuration.
type endpoints struct {
	log *slog.Logger

	mu  sync.Mutex
	all []*endpoint
}

// replace replaces the servers. Those that stay keep their health, and their place in the sessions
// that have tried them.
func (e *endpoints) replace(to []mtwire.Endpoint, weights []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.all
	e.all = make([]*endpoint, 0, len(to))
	for i, ep := range to {
		var next *endpoint
		at := slices.IndexFunc(before, func(old *endpoint) bool { return old.Endpoint == ep && !slices.Contains(e.all, old) })
		if at >= 0 {
			next = before[at]
		} else {
			next = &endpoint{Endpoint: ep, name: name(ep), health: make(map[mtwire.DC]*health)}
		}
		if next.weight, next.current = 0, 0; len(weights) > 0 {
			next.weight = weights[i]
		}
		e.all = append(e.all, next)
	}
}

// of returns the health of the server that a client gets for dc. Under mu.
func (e *endpoints) of(ep *endpoint, dc mtwire.DC) *health {
	if ep.Address != "" {
		dc = 0 // one server for all
	}
	h := ep.health[dc]
	if h == nil {
		h = new(health)
		ep.health[dc] = h
	}
	return h
}

// next returns the server to try next, or nil if all have been tried: the first one that
// has not failed lately or, without one, that whose pause ends first.
func (e *endpoints) next(tried []*endpoint, dc mtwire.DC) *endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	best, _ := e.pick(tried, dc)
	return best
}

// take is next, or by weights: of those that have not failed lately each gets its share,
// evenly mixed. If a pause of the server has just ended, it is tried by this client alone,
// until it has answered, failed, or trial is over: were it silent, all would wait.
func (e *endpoints) take(tried []*endpoint, dc mtwire.DC, trial time.Duration) *endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	best, h := e.pick(tried, dc)
	if best != nil && best.weight > 0 {
		best = e.share(best, tried, dc)
		h = e.of(best, dc)
	}
	if now := time.Now(); h != nil && h.failures > 0 && !h.until.After(now) {
		h.trial, h.until = true, now.Add(trial)
	}
	return best
}

// pick is next. Under mu.
func (e *endpoints) pick(tried []*endpoint, dc mtwire.DC) (best *endpoint, its *health) {
	now := time.Now()
	for _, candidate := range e.all {
		if slices.Contains(tried, candidate) {
			continue
		}
		h := e.of(candidate, dc)
		if !h.until.After(now) {
			return candidate, h
		}
		if best == nil || h.until.Before(its.until) {
			best, its = candidate, h
		}
	}
	return best, its
}

// share returns the endpoint whose turn it is by the weights, or the first one if all have
// failed. Under mu.
func (e *endpoints) share(first *endpoint, tried []*endpoint, dc mtwire.DC) *endpoint {
	var turn *endpoint
	now, total := time.Now(), 0
	for _, candidate := range e.all {
		if slices.Contains(tried, candidate) || e.of(candidate, dc).until.After(now) {
			continue
		}
		total += candidate.weight
		candidate.current += candidate.weight
		if turn == nil || candidate.current > turn.current {
			turn = candidate
		}
	}
	if turn == nil {
		return first
	}
	turn.current -= total
	return turn
}

// failed notes a failure, and recovered an answer.
func (e *endpoints) failed(ep *endpoint, dc mtwire.DC, err error) {
	now := time.Now()
	e.mu.Lock()
	h := e.of(ep, dc)
	first := h.failures == 0
	if h.trial || !h.until.After(now) { // otherwise several clients see the same failure
		h.trial, h.until = false, now.Add(min(shortestPause<<min(h.failures, 10), longestPause))
		h.failures++
	}
	e.mu.Unlock()
	if first {
		e.log.Warn("a server fails", "to", ep.nameFor(dc), "err", err)
	}
}

func (e *endpoints) recovered(ep *endpoint, dc mtwire.DC) {
	e.mu.Lock()
	h := e.of(ep, dc)
	failures := h.failures
	*h = health{}
	e.mu.Unlock()
	if failures > 0 {
		e.log.Info("a server answers again", "to", ep.nameFor(dc), "failures", failures)
	}
}

// nameFor is the name for the log.
func (ep *endpoint) nameFor(dc mtwire.DC) string {
	if ep.Address == "" && dc != 0 {
		return dc.Describe() + ep.name[len(anyDataCenter):]
	}
	return ep.name
}

// anyDataCenter begins the name of an endpoint that is the data centres.
const anyDataCenter = "the data centre"

// name returns an endpoint's name for the log, without its secret.
func name(ep mtwire.Endpoint) string {
	if ep.Address != "" {
		return ep.Redacted()
	}
	return anyDataCenter + " over " + ep.Carrier.String()
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
	if to.Address == "" && to.Carrier == mtwire.WebSocket && to.DC == datacenter.CDN {
		// The host of this one leads to the CDN's, which the init payload names.
		home, _ := datacenter.Lookup(mtwire.DefaultDC)
		host, err := mtwire.ParseEndpoint(home.WebSocketURL())
		if err != nil {
			return nil, err
		}
		to.Address, to.TLS = host.Address, true
	}
	return mtwire.DialEndpoint(ctx, to, config)
}

// errTried means that every server has failed.
var errTried = errors.New("no server answers")
