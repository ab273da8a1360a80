package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/netx"
)

// maxAttempts limits the attempts of one Dial. By the time of a fifth the
// client has given up.
const maxAttempts = 4

// The delays are variables for SetAttemptDelays.
var (
	// attemptDelay is the time from the start of a direct attempt to the start of
	// the next one: the Connection Attempt Delay. It is longer than the
	// recommended 250 ms, because data centres are farther away than web servers.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc8305#section-5
	attemptDelay = 300 * time.Millisecond

	// upstreamAttemptDelay is the delay after an attempt through an upstream,
	// which takes several round trips to the upstream, and those of the
	// upstream to the data centre.
	upstreamAttemptDelay = time.Second
)

// SetAttemptDelays sets the time from the start of an attempt to the start of the next one, of
// which the first to connect is used. It is for tests of the whole program that need to know which
// one that is, also on a slow machine, and call it before any router is made.
func SetAttemptDelays(d time.Duration) { attemptDelay, upstreamAttemptDelay = d, d }

// attempt is one attempt to connect to a candidate. conn, err and took are set at its
// end.
type attempt struct {
	candidate
	dc       datacenter.DC
	started  time.Time
	reached  atomic.Bool // the upstream, if not the address behind it
	accepted atomic.Bool // an MTProxy has accepted the connection
	conn     net.Conn
	err      error
	took     time.Duration
}

// Attempt is what Config.Attempted is told.
type Attempt struct {
	DC                datacenter.DC
	Upstream, Address string // as Upstream.Via and Upstream.Address
	Duration          time.Duration
	Err               error // without credentials
}

// ended calls Config.Attempted.
func (h *happyEyeballs) ended(a *attempt) {
	if h.router.config.Attempted == nil {
		return
	}
	ended := Attempt{DC: h.dc, Upstream: a.upstream.String(), Address: a.address, Duration: a.took}
	if a.err != nil {
		ended.Err = a.describe()
	}
	h.router.config.Attempted(ended)
}

// happyEyeballs makes the attempts of one Dial, several at a time. Each of its
// goroutines uses one attempt and nothing else; the rest runs in Dial's own.
type happyEyeballs struct {
	router   *Router
	dc       datacenter.DC
	ordering *ordering
	results  chan *attempt
	started  int
	running  []*attempt // the earliest first
	accepted bool       // one of the attempts that failed
	failed   attemptErrors
}

// happyEyeballs returns the first attempt that connects to a candidate.
func (r *Router) happyEyeballs(ctx context.Context, o *ordering) (*attempt, error) {
	h := happyEyeballs{router: r, dc: o.dc, ordering: o, results: make(chan *attempt, maxAttempts)}
	return h.run(ctx)
}

func (h *happyEyeballs) run(ctx context.Context) (*attempt, error) {
	first, ok := h.ordering.next()
	if ok && !h.ordering.hasNext() {
		return h.tryOnly(ctx, first)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer h.stop(cancel)
	next := time.NewTimer(h.start(ctx, first, ok))
	defer next.Stop()
	for len(h.running) > 0 {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-next.C:
			next.Reset(h.startNext(ctx))
		case a := <-h.results:
			i := slices.Index(h.running, a)
			h.running = slices.Delete(h.running, i, i+1)
			if a.err == nil {
				h.router.recordSuccess(a, h.running[:i])
				h.ended(a)
				for _, slower := range h.running { // they have not failed: Next may try them
					h.ordering.retract(slower.candidate)
				}
				return a, nil
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx) // the cause of a.err
			}
			if h.fail(a) {
				next.Reset(h.startNext(ctx))
			}
		}
	}
	return nil, h.failed
}

// tryOnly is run for an only candidate, in the caller's goroutine: there is nothing to
// do meanwhile.
func (h *happyEyeballs) tryOnly(ctx context.Context, c candidate) (*attempt, error) {
	a := h.newAttempt(c)
	h.connect(ctx, a)
	switch {
	case a.err == nil:
		h.router.recordSuccess(a, nil)
		h.ended(a)
		return a, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	h.fail(a)
	return nil, h.failed
}

// fail notes that a has failed. It returns false if another attempt would fail as a
// has; the next Dial may try it again.
func (h *happyEyeballs) fail(a *attempt) (next bool) {
	h.ended(a)
	h.accepted = h.accepted || a.accepted.Load()
	h.failed = append(h.failed, a.describe())
	if netx.IsLocal(a.err) {
		h.ordering.retract(a.candidate)
		return false
	}
	h.router.recordFailure(a)
	return true
}

// startNext starts the next attempt, if there is one, and returns the delay before
// the one after it.
func (h *happyEyeballs) startNext(ctx context.Context) time.Duration {
	if h.started == maxAttempts {
		return h.router.config.DialTimeout // when all attempts have ended
	}
	c, ok := h.ordering.next()
	return h.start(ctx, c, ok)
}

// start is startNext with the candidate, if ok.
func (h *happyEyeballs) start(ctx context.Context, c candidate, ok bool) time.Duration {
	if !ok {
		return h.router.config.DialTimeout
	}
	a := h.newAttempt(c)
	h.started++
	h.running = append(h.running, a)
	go func() {
		h.connect(ctx, a)
		h.results <- a
	}()
	return h.router.delay(a)
}

func (h *happyEyeballs) newAttempt(c candidate) *attempt {
	return &attempt{candidate: c, dc: h.dc, started: h.router.config.Time()}
}

// connect makes the attempt a.
func (h *happyEyeballs) connect(ctx context.Context, a *attempt) {
	ctx, cancel := context.WithTimeout(ctx, h.router.config.DialTimeout)
	defer cancel()
	a.conn, a.err = h.router.connect(ctx, a)
	a.took = h.router.config.Time().Sub(a.started)
}

// delay returns the time from the start of a to the start of the next attempt.
func (r *Router) delay(a *attempt) time.Duration {
	if a.upstream.kind == kindDirect {
		return attemptDelay + r.spare
	}
	return upstreamAttemptDelay + r.spare
}

// stop cancels the attempts that still run, waits for them, and closes their
// connections.
func (h *happyEyeballs) stop(cancel context.CancelFunc) {
	cancel()
	for range h.running {
		if a := <-h.results; a.conn != nil {
			a.conn.Close()
		}
	}
}

// describe returns the attempt's error in the form "address (upstream): cause",
// without a *net.OpError, which would repeat addresses and add local ones.
func (a *attempt) describe() error {
	err := a.err
	for op := (*net.OpError)(nil); errors.As(err, &op); {
		err = op.Err
	}
	return fmt.Errorf("%s (%s): %w", a.address, a.upstream, err)
}

// attemptErrors is the errors of all attempts, in one line.
type attemptErrors []error

func (e attemptErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e attemptErrors) Unwrap() []error { return e }
