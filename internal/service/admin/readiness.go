package admin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// heardWithin is how long a byte of a data centre, or its answer to a probe, proves
	// that it can be reached. After refreshAfter, a check asks a data centre, so that
	// checks every half minute of a proxy without clients always find an answer, a little
	// late as some are.
	heardWithin  = time.Minute
	refreshAfter = heardWithin / 3
	// probeInterval is the time from one probe to the next, and probeTimeout the limit
	// of one.
	probeInterval = 20 * time.Second
	probeTimeout  = 10 * time.Second
)

// Readiness is whether a proxy serves clients: it accepts connections, and a data
// centre has sent a byte within the last minute, to a client or to a probe. Checks return
// at once what is known. If that is old, because no client is there, a data centre is
// asked in the background, for the checks that follow: at most once in 20 seconds.
//
// Its methods may be called concurrently.
type Readiness struct {
	heard func() time.Time            // when a data centre has sent a byte to a client last
	probe func(context.Context) error // asks data centres until one answers

	accepting atomic.Bool

	ctx    context.Context // of probes
	cancel context.CancelFunc
	probes sync.WaitGroup

	mu       sync.Mutex
	began    time.Time // of the last probe, zero for none
	running  bool      // it has not ended
	answered time.Time // when a data centre has answered a probe last, zero for never
	failed   time.Time // when a probe has failed last, with err
	err      error
}

// NewReadiness returns the readiness of a proxy that does not accept yet. The caller
// calls Close.
func NewReadiness(heard func() time.Time, probe func(context.Context) error) *Readiness {
	r := &Readiness{heard: heard, probe: probe}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends the probe that runs.
func (r *Readiness) Close() {
	r.mu.Lock()
	r.cancel() // under mu: afterwards no probe begins
	r.mu.Unlock()
	r.probes.Wait()
}

// SetAccepting notes whether the proxy accepts connections.
func (r *Readiness) SetAccepting(accepting bool) { r.accepting.Store(accepting) }

// Probed notes the result of a probe of the caller: err is nil if a data centre has
// answered.
func (r *Readiness) Probed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.answered = time.Now()
	} else {
		r.failed, r.err = time.Now(), err
	}
}

var (
	errNotAccepting = errors.New("the proxy does not accept connections: it starts, or stops")
	// errAsking means that the answer is there in a moment.
	errAsking = errors.New("no data centre has sent anything for a minute: one is being asked now")
)

// Check returns nil if the proxy serves clients, or else the reason. It does not wait
// for a data centre.
func (r *Readiness) Check() error {
	if !r.accepting.Load() {
		return errNotAccepting
	}
	last := r.heard()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answered.After(last) {
		last = r.answered
	}
	since := time.Since(last) // of the zero time, the longest duration
	if since >= refreshAfter {
		r.ask()
	}
	switch {
	case since < heardWithin:
		return nil
	case r.failed.After(last):
		return fmt.Errorf("no data centre can be reached: %w", r.err)
	}
	return errAsking
}

// ask starts a probe, unless one runs or has begun lately. Under mu.
func (r *Readiness) ask() {
	if r.running || !r.began.IsZero() && time.Since(r.began) < probeInterval || r.ctx.Err() != nil {
		return
	}
	r.began, r.running = time.Now(), true
	r.probes.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, probeTimeout)
		defer cancel()
		err := r.probe(ctx)
		r.Probed(err)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.running = false
	})
}
