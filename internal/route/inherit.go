package route

import (
	"maps"
	"time"
)

// maxInherited is how many addresses behind an upstream may be known to a router before
// Inherit drops those in good health: configurations may follow one another for years.
const maxInherited = 256

// Inherit makes r, which New has just made and nothing uses yet, know what before knows
// of the upstreams that both have: their failures and back-offs, those of the addresses
// behind them, and what ProbeClassic has found. The weights are r's own. So r can take
// the place of before, whose dials in progress and connections go on: what they find out
// from then on, r knows as well.
func (r *Router) Inherit(before *Router) {
	before.mu.Lock()
	defer before.mu.Unlock()
	r.mu = before.mu
	inherited := make(map[*upstreamHealth]bool)
	for _, u := range r.upstreams {
		for _, old := range before.upstreams {
			if u.isSame(old.UpstreamURL) && !inherited[old.upstreamHealth] { // an upstream may be configured twice
				inherited[old.upstreamHealth] = true
				u.upstreamHealth = old.upstreamHealth
				u.prune(r.config.Time())
				break
			}
		}
	}
}

// isSame reports whether u and other differ in their weights at most.
func (u UpstreamURL) isSame(other UpstreamURL) bool {
	u.weight, other.weight = 0, 0
	return u == other
}

// prune forgets addresses whose back-off is over, if there are many. Under Router.mu.
func (u *upstreamHealth) prune(now time.Time) {
	if len(u.addressHealth) > maxInherited {
		maps.DeleteFunc(u.addressHealth, func(_ string, h *health) bool { return !h.failing(now) })
	}
}
