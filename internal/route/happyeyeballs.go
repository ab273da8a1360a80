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
)

const (
	// maxAttempts limits the attempts of one Dial. By the time of a fifth the
	// client has given up.
	maxAttempts = 4

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

// attempt is one attempt to connect to a candidate. conn, err and took are set at its
// end.
type attempt struct {
	candidate
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
// goroutines uses one attempt and nothing else; the rest runs in Dial's own, and so
// does an only attempt.
type happyEyeballs struct {
	router   *Router
	dc       datacenter.DC
	ordering *ordering
	results  chan *attempt
	started  int
	running  []*attempt // the earliest first
	accepted bool       // one of the attempts that failed
}

// happyEyeballs returns the first attempt that connects to a candidate.
func (r *Router) happyEyeballs(ctx context.Context, o *ordering) (*attempt, error) {
	h := happyEyeballs{router: r, dc: o.service.dc, ordering: o, results: make(chan *attempt, maxAttempts)}
	return h.run(ctx)
}

func (h *happyEyeballs) run(ctx context.Context) (*attempt, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer h.stop(cancel)
	var failed attemptErrors
	next := time.NewTimer(h.startNext(ctx))
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
				return a, nil
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx) // the cause of a.err
			}
			h.ended(a)
			h.accepted = h.accepted || a.accepted.Load()
			failed = append(failed, a.describe())
			if IsLocal(a.err) { // as the others would; Next may try again
				h.ordering.retract(a.candidate)
				continue
			}
			h.router.recordFailure(a)
			next.Reset(h.startNext(ctx))
		}
	}
	return nil, failed
}

// startNext starts the next attempt, if there is one, and returns the delay before
// the one after it.
func (h *happyEyeballs) startNext(ctx context.Context) time.Duration {
	if h.started == maxAttempts {
		return h.router.config.DialTimeout // when all attempts have ended
	}
	c, ok := h.ordering.next()
	if !ok {
		return h.router.config.DialTimeout
	}
	a := &attempt{candidate: c, started: h.router.config.Time()}
	h.started++
	h.running = append(h.running, a)
	connect := func() {
		ctx, cancel := context.WithTimeout(ctx, h.router.config.DialTimeout)
		defer cancel()
		a.conn, a.err = h.router.connect(ctx, a)
		a.took = h.router.config.Time().Sub(a.started)
		h.results <- a
	}
	if len(h.running) == 1 && !h.ordering.hasNext() {
		connect() // there is nothing to do meanwhile
	} else {
		go connect()
	}
	return a.delay()
}

// delay returns the time from the start of a to the start of the next attempt.
func (a *attempt) delay() time.Duration {
	if a.upstream.kind == kindDirect {
		return attemptDelay
	}
	return upstreamAttemptDelay
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
