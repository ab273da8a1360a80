package route

import "time"

// After a failure, others come first for this long; each further failure
// doubles it, up to the limit.
const (
	firstBackOff = 10 * time.Second
	maxBackOff   = 5 * time.Minute
)

// health is what is remembered of an address or of a way out: its failures
// since the last success. The zero value is good health.
type health struct {
	failures int       // in a row
	last     time.Time // when the last one was
	until    time.Time // others come first until then
}

func (h *health) failing(now time.Time) bool { return now.Before(h.until) }

// lastFailure is when the last failure was, zero if it is of no importance.
func (h *health) lastFailure(now time.Time) time.Time {
	if !h.failing(now) {
		return time.Time{}
	}
	return h.last
}

// fail counts a failure. What comes during the back-off does not count again:
// one outage strikes many clients at once.
func (h *health) fail(now time.Time) {
	h.last = now
	if h.failing(now) {
		return
	}
	backOff := maxBackOff
	if shift := h.failures; shift < 10 {
		backOff = min(firstBackOff<<shift, maxBackOff)
	}
	h.failures++
	h.until = now.Add(backOff)
}

// succeed forgets all failures.
func (h *health) succeed() { *h = health{} }
