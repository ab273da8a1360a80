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
	// heardWithin is how long a byte of a data centre proves that it can be reached.
	heardWithin = time.Minute
	// probeInterval is the time from one probe to the next, and probeTimeout the limit
	// of one.
	probeInterval = 20 * time.Second
	probeTimeout  = 10 * time.Second
)

// Readiness is whether a proxy serves clients: it accepts connections, and a data
// centre has sent a byte within the last minute. If none has, because no client is
// there, a data centre is asked. Requests share that: there is one probe in 20 seconds.
type Readiness struct {
	heard func() time.Time            // when a data centre has sent a byte last
	probe func(context.Context) error // asks data centres until one answers

	accepting atomic.Bool

	ctx    context.Context // of probes
	cancel context.CancelFunc
	probes sync.WaitGroup

	mu      sync.Mutex
	began   time.Time     // of the last probe, zero for none
	running chan struct{} // closed at its end; nil if there is none
	err     error         // of the last one that has ended
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
	r.cancel()
	r.probes.Wait()
}

// SetAccepting notes whether the proxy accepts connections.
func (r *Readiness) SetAccepting(accepting bool) { r.accepting.Store(accepting) }

var errNotAccepting = errors.New("the proxy does not accept connections: it starts, or stops")

// Check returns nil if the proxy serves clients, or else the reason.
func (r *Readiness) Check(ctx context.Context) error {
	if !r.accepting.Load() {
		return errNotAccepting
	}
	if time.Since(r.heard()) < heardWithin {
		return nil
	}
	select {
	case <-r.ask():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return fmt.Errorf("no data centre can be reached: %w", r.err)
	}
	return nil
}

// ended is a probe that has ended.
var ended = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// ask starts a probe, unless one runs or has begun lately, and returns what is closed at
// its end.
func (r *Readiness) ask() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running != nil {
		return r.running
	}
	if !r.began.IsZero() && time.Since(r.began) < probeInterval {
		return ended
	}
	done := make(chan struct{})
	r.began, r.running = time.Now(), done
	r.probes.Go(func() { // for all requests, so no request's context ends it
		ctx, cancel := context.WithTimeout(r.ctx, probeTimeout)
		defer cancel()
		err := r.probe(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err, r.running = err, nil
		close(done)
	})
	return done
}
