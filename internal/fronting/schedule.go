package fronting

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
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
// later ones fail. Without Run, ServerHello returns zero, and Records and Patience
// return defaults.
//
// A round has probesPerRound handshakes, one download, one connection on which
// nothing is sent after the hello, and one connection for each other kind of hello
// that clients have sent in the last week.
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

// measure runs rounds of probes of one host until ctx ends, and measures new kinds
// of clients' hellos between them.
func (p *Pool) measure(ctx context.Context, h *host) {
	var background sync.WaitGroup
	defer background.Wait()
	next := time.NewTimer(rand.N(maxFirstDelay))
	defer next.Stop()
	retry := minRetryInterval
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.newKind:
			p.measureKinds(ctx, h, true)
			continue
		case <-next.C:
		}
		m, err := p.round(ctx, h)
		if err != nil {
			if ctx.Err() == nil {
				p.config.Log.Warn("fronting host could not be measured; check its name and its TLS, or set another with --front", "address", h.Address, "error", err)
			}
			next.Reset(jitter(retry))
			retry = min(2*retry, roundInterval)
			continue
		}
		background.Go(func() { p.detail(ctx, h, p.measurePatience) })
		if m.tls13 && sleep(ctx, jitter(probeInterval)) {
			p.detail(ctx, h, p.download)
			p.measureKinds(ctx, h, false)
		}
		next.Reset(jitter(roundInterval))
		retry = minRetryInterval
	}
}

// detail measures something of h that has a default, and logs the result.
func (p *Pool) detail(ctx context.Context, h *host, measure func(context.Context, *host) error) {
	err := measure(ctx, h)
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	records, patience := h.records, h.patience
	h.mu.Unlock()
	p.config.Log.Debug("fronting host measured in detail", "domain", h.Domain, "error", err,
		"tickets", records.Tickets, "ramp", records.Ramp, "max", records.Max, "patience", patience)
}

// round probes h probesPerRound times with a browser's hello and replaces the
// answers of the previous round. If a probe fails, the round fails and the answers
// stay. The first round sets the answers after each probe, because clients are
// answered meanwhile. It returns the last measurement.
func (p *Pool) round(ctx context.Context, h *host) (m measurement, err error) {
	var answers []answer
	h.mu.Lock()
	known := h.browser != nil
	h.mu.Unlock()
	for i := range probesPerRound {
		if i > 0 && !sleep(ctx, jitter(probeInterval)) {
			return m, ctx.Err()
		}
		last := i == probesPerRound-1
		if m, err = p.probe(ctx, h, last); err != nil {
			return m, err
		}
		if !m.tls13 {
			h.setBrowser(m.kind, []answer{m.answer})
			p.config.Log.Warn("fronting host does not support TLS 1.3, which FakeTLS imitates: the difference can be detected. Enable TLS 1.3 there or choose another site",
				"domain", h.Domain)
			return m, nil
		}
		if answers = append(answers, m.answer); !known || last {
			h.setBrowser(m.kind, slices.Clone(answers))
		}
	}
	h.mu.Lock()
	h.records.Tickets = m.unasked
	h.mu.Unlock()
	p.report(h, answers)
	return m, nil
}

// report logs the result of a round, and warns of what FakeTLS cannot imitate.
func (p *Pool) report(h *host, answers []answer) {
	bySize := func(a, b answer) int { return cmp.Compare(a.shape.DataSize, b.shape.DataSize) }
	byRecords := func(a, b answer) int { return cmp.Compare(a.records, b.records) }
	records := slices.MaxFunc(answers, byRecords).records
	p.config.Log.Info("fronting host measured", "domain", h.Domain,
		"smallest", slices.MinFunc(answers, bySize).shape.DataSize, "largest", slices.MaxFunc(answers, bySize).shape.DataSize)
	if !slices.ContainsFunc(answers, func(a answer) bool { return !a.retry }) {
		p.refuseHello(h)
	}
	h.mu.Lock()
	warn := records > 1 && records != h.several
	h.several = records
	h.mu.Unlock()
	if warn {
		p.config.Log.Warn("fronting host sends several encrypted records in its first flight, and FakeTLS clients accept one: the difference can be detected. Choose a site whose server sends one, as those with rustls or BoringSSL do",
			"domain", h.Domain, "records", records)
	}
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
