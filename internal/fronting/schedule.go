package fronting

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire/faketls"
)

const (
	// maxFirstDelay is the maximum of the random delay before a host's first
	// probe, so that probes do not show when a proxy starts.
	maxFirstDelay = time.Second
	// probesPerRound is more than one because sizes vary: signatures differ by a
	// few bytes, and a host may have several certificates.
	probesPerRound = 3
	// probeInterval is about the time between the probes of a round.
	probeInterval = 2 * time.Second
	// roundInterval is about the time between rounds. Certificates are valid for
	// weeks.
	roundInterval = 4 * time.Hour
	// minRetryInterval is about the time from a failed round to the next. It
	// doubles with each failure, up to roundInterval.
	minRetryInterval = 30 * time.Second
)

// Run measures the hosts until ctx ends, and returns ctx's error. A host is
// probed soon after the start or after SetHosts adds it, then every few hours,
// and with back-off after a failure. The last measurement stays in use while
// later ones fail. Without Run, ServerHello returns zero.
func (p *Pool) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer p.probing.Wait()
	defer running.Wait()
	p.running.Store(&ctx)
	measured := make(map[*host]context.CancelFunc)
	for {
		current := p.hosts.Load()
		for h, cancel := range measured {
			if current.byDomain[h.Domain] != h {
				cancel()
				delete(measured, h)
			}
		}
		for _, h := range current.hosts {
			if measured[h] == nil {
				hostCtx, cancel := context.WithCancel(ctx)
				measured[h] = cancel
				running.Go(func() { p.measure(hostCtx, h) })
			}
		}
		select {
		case <-current.replaced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// measure runs rounds of probes of one host until ctx ends.
func (p *Pool) measure(ctx context.Context, h *host) {
	retry := minRetryInterval
	for delay := rand.N(maxFirstDelay); sleep(ctx, delay); {
		if err := p.round(ctx, h); err == nil {
			delay, retry = jitter(roundInterval), minRetryInterval
			continue
		} else if ctx.Err() == nil {
			p.config.Log.Warn("fronting host could not be measured", "address", h.Address, "error", err)
		}
		delay, retry = jitter(retry), min(2*retry, roundInterval)
	}
}

// round probes h probesPerRound times and replaces the shapes of the previous
// round. If a probe fails, the round fails and the shapes stay. The first round
// sets the shapes after each probe, because clients are answered meanwhile.
func (p *Pool) round(ctx context.Context, h *host) error {
	var shapes []faketls.ServerHelloShape
	known := h.shape() != faketls.ServerHelloShape{}
	for range probesPerRound {
		if len(shapes) > 0 && !sleep(ctx, jitter(probeInterval)) {
			return ctx.Err()
		}
		shape, err := p.probe(ctx, h)
		if err != nil {
			return err
		}
		if shape.DataSize == 0 {
			h.setShapes(nil)
			p.config.Log.Warn("fronting host does not support TLS 1.3, which FakeTLS imitates: the difference can be detected. Enable TLS 1.3 there or choose another site",
				"domain", h.Domain)
			return nil
		}
		if shapes = append(shapes, shape); !known {
			h.setShapes(shapes)
		}
	}
	h.setShapes(shapes)
	bySize := func(a, b faketls.ServerHelloShape) int { return cmp.Compare(a.DataSize, b.DataSize) }
	p.config.Log.Info("fronting host measured", "domain", h.Domain,
		"smallest", slices.MinFunc(shapes, bySize).DataSize, "largest", slices.MaxFunc(shapes, bySize).DataSize)
	return nil
}

func (h *host) setShapes(shapes []faketls.ServerHelloShape) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shapes = shapes
}

// jitter returns d plus or minus up to a quarter.
func jitter(d time.Duration) time.Duration { return d - d/4 + rand.N(d/2) }

// sleep returns true after d, or false when ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
