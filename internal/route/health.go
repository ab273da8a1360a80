package route

import "time"

// The back-off after a failure: each further failure doubles it, up to the limit.
const (
	firstBackOff = 10 * time.Second
	maxBackOff   = 5 * time.Minute

	// trialTime is how long a client may take to send its first packet, and the
	// data centre to answer it.
	trialTime = 10 * time.Second
)

// health is the failures of an address or of an upstream since its last success.
// During the back-off, candidates in good health are tried first. The zero value
// is good health.
type health struct {
	failures int       // in a row
	last     time.Time // of the last failure
	until    time.Time // the end of the back-off
	onTrial  bool      // until is the end of a trial
}

// failing reports whether the back-off lasts.
func (h *health) failing(now time.Time) bool { return now.Before(h.until) }

// lastFailure returns the time of the last failure of any of them, or zero if the
// back-offs of all are over. They may be nil.
func lastFailure(now time.Time, all ...*health) (last time.Time) {
	for _, h := range all {
		if h != nil && now.Before(h.until) && h.last.After(last) {
			last = h.last
		}
	}
	return last
}

// fail counts a failure. Failures during the back-off do not prolong it, because
// one outage makes many connections fail at once.
func (h *health) fail(now time.Time) {
	h.last = now
	if h.failing(now) && !h.onTrial {
		return
	}
	h.onTrial = false
	backOff := maxBackOff
	if shift := h.failures; shift < 10 {
		backOff = min(firstBackOff<<shift, maxBackOff)
	}
	h.failures++
	h.until = now.Add(backOff)
}

// try begins a trial if the back-off is over: one connection tests whether the
// failure lasts, and all others go on avoiding it until the result or trialTime.
func (h *health) try(now time.Time) {
	if h.failures > 0 && !h.failing(now) {
		h.onTrial, h.until = true, now.Add(trialTime)
	}
}

// succeed clears all failures.
func (h *health) succeed() { *h = health{} }

// UpstreamStatus is an upstream, and how its connections go.
type UpstreamStatus struct {
	Upstream string // "direct", or the upstream's URL without credentials
	Weight   int
	// Failing reports whether the upstream is avoided for all clients.
	Failing bool
	// PaddedOnly reports whether it takes no framing without padding.
	PaddedOnly bool
}

// Upstreams returns the upstreams as they are configured.
func (r *Router) Upstreams() []UpstreamStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.config.Time()
	all := make([]UpstreamStatus, 0, len(r.upstreams))
	for _, u := range r.upstreams {
		all = append(all, UpstreamStatus{u.String(), u.Weight(), !lastFailure(now, &u.health, &u.loops).IsZero(), u.paddedOnly})
	}
	return all
}
