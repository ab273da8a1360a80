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
	// firstDelay spreads the first probes: a proxy that starts is not to be
	// seen by them.
	firstDelay = time.Second
	// probes is how many make a round. Signatures, and so flights, vary by a
	// few bytes, and a host may have several certificates.
	probes = 3
	// probeGap is about how much time is between them.
	probeGap = 2 * time.Second
	// interval is about how much time is between rounds. Certificates live for
	// weeks.
	interval = 4 * time.Hour
	// firstRetry is about how much time is between a failed round and the
	// next. It doubles with each failure, up to interval.
	firstRetry = 30 * time.Second
)

// Run measures the hosts until ctx ends: soon, and every few hours from then
// on, sooner if it failed. What was measured stays good until there is
// something newer. Run may be left out; then Flight knows nothing.
func (f *Front) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, h := range f.hosts {
		running.Go(func() { f.follow(ctx, h) })
	}
	running.Wait()
	<-ctx.Done()
	return ctx.Err()
}

// follow measures one host again and again.
func (f *Front) follow(ctx context.Context, h *host) {
	retry := firstRetry
	for delay := rand.N(firstDelay); pause(ctx, delay); {
		if err := f.round(ctx, h); err == nil {
			delay, retry = about(interval), firstRetry
			continue
		} else if ctx.Err() == nil {
			f.config.Log.Warn("fronting host could not be measured", "address", h.Address, "error", err)
		}
		delay, retry = about(retry), min(2*retry, interval)
	}
}

// round measures h a few times and remembers what came out, in place of what
// was before. One failure makes the round worth nothing; only if nothing was
// known before, each of its probes counts at once, since clients are answered
// meanwhile.
func (f *Front) round(ctx context.Context, h *host) error {
	var looks []faketls.ServerHelloShape
	known := f.Flight(h.Domain) != faketls.ServerHelloShape{}
	for range probes {
		if len(looks) > 0 && !pause(ctx, about(probeGap)) {
			return ctx.Err()
		}
		look, err := f.probe(ctx, h)
		if err != nil {
			return err
		}
		if look.DataSize == 0 {
			h.remember(nil)
			f.config.Log.Warn("fronting host does not speak TLS 1.3, as FakeTLS seems to: who compares can tell clients from strangers; turn it on there, or choose another site",
				"domain", h.Domain)
			return nil
		}
		if looks = append(looks, look); !known {
			h.remember(looks)
		}
	}
	h.remember(looks)
	bySize := func(a, b faketls.ServerHelloShape) int { return cmp.Compare(a.DataSize, b.DataSize) }
	f.config.Log.Info("fronting host measured", "domain", h.Domain,
		"smallest", slices.MinFunc(looks, bySize).DataSize, "largest", slices.MaxFunc(looks, bySize).DataSize)
	return nil
}

func (h *host) remember(looks []faketls.ServerHelloShape) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks = looks
}

// about returns d, or up to a quarter more or less.
func about(d time.Duration) time.Duration { return d - d/4 + rand.N(d/2) }

// pause returns true after d, or false when ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
