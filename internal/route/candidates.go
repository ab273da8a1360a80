package route

import (
	"cmp"
	"slices"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/webproxy"
)

// upstreamState is a configured upstream, its place in the weighted round robin,
// and its health. Router.mu protects currentWeight and what upstreamHealth points to.
type upstreamState struct {
	UpstreamURL
	*upstreamHealth // shared by the routers that have the upstream: see Inherit

	currentWeight int // of the smooth weighted round robin
}

// upstreamHealth is what is known of an upstream.
type upstreamHealth struct {
	health        health             // of the upstream itself
	failures      int                // failed attempts through it, in a row
	addressHealth map[string]*health // of the addresses behind it
	answers       answers            // of connections that were not answered
	loops         health             // of connections that came back
	paddedOnly    bool               // it takes no framing without padding
	streams       *webproxy.Dialer   // of a WEB proxy, nil otherwise
}

// maxUpstreamFailures is how many attempts in a row may fail through an upstream
// that can itself be reached, before it counts as failing: by then a refused
// password is more likely than as many dead addresses.
const maxUpstreamFailures = 3

// healthOf returns the health of an address behind u. There are no more addresses
// than in the table and the configuration, so the map is bounded: see Inherit for other
// configurations.
func (u *upstreamState) healthOf(address string) *health {
	h := u.addressHealth[address]
	if h == nil {
		h = &health{}
		u.addressHealth[address] = h
	}
	return h
}

// candidate is one address through one upstream.
type candidate struct {
	upstream *upstreamState
	address  string
}

// ordering returns the candidates of one Dial, and of its Nexts, one at a time.
type ordering struct {
	router    *Router
	service   answerKey
	dc        datacenter.DC
	addresses []string
	upstreams []*upstreamState // the preferred one first
	tried     []candidate      // a few at most

	// What upstreams and tried have room in, unless they are long.
	firstUpstreams [1]*upstreamState
	firstTried     [1]candidate
}

// newOrdering returns an ordering without upstreams.
func (r *Router) newOrdering(location location, service answerKey) *ordering {
	o := &ordering{router: r, service: service, dc: location.dc, addresses: location.addresses}
	o.upstreams, o.tried = o.firstUpstreams[:0], o.firstTried[:0]
	return o
}

// order returns the ordering of all candidates for a location and what a client asks
// for. The round robin determines the preferred upstream; the others follow as
// configured.
func (r *Router) order(location location, service answerKey) *ordering {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.newOrdering(location, service)
	preferred := r.nextUpstream(service, r.config.Time()) // nil if none takes the framing
	if preferred != nil {
		o.upstreams = append(o.upstreams, preferred)
	}
	for _, u := range r.upstreams {
		if u != preferred && u.takes(service) {
			o.upstreams = append(o.upstreams, u)
		}
	}
	return o
}

// nextUpstream is a smooth weighted round robin over the upstreams in good health:
// weights 3 and 1 give A A B A, and so on. It returns nil if there is none.
func (r *Router) nextUpstream(service answerKey, now time.Time) (next *upstreamState) {
	total := 0
	for _, u := range r.upstreams {
		if !u.takes(service) || !u.lastFailure(service, now).IsZero() {
			continue
		}
		weight := u.Weight()
		total += weight
		u.currentWeight += weight
		if next == nil || u.currentWeight > next.currentWeight {
			next = u
		}
	}
	if next != nil {
		next.currentWeight -= total
	}
	return next
}

// priority orders candidates: lower is tried first. Times are zero in good health.
type priority struct {
	upstreamFailed, addressFailed time.Time
	indexes, address              int // the sum of both indexes; the address's
}

// takes reports whether u leads to a client's data centre, and takes its framing.
func (u *upstreamState) takes(service answerKey) bool {
	return (service.padded || !u.paddedOnly) && u.leadsTo(service.dc)
}

// lastFailure returns the time of u's last failure for what a client asks for, or
// zero in good health.
func (u *upstreamState) lastFailure(service answerKey, now time.Time) time.Time {
	return lastFailure(now, &u.health, &u.loops, u.answers.of(service))
}

// lastFailure is upstreamState.lastFailure for an address.
func (c candidate) lastFailure(service answerKey, now time.Time) time.Time {
	return lastFailure(now, c.upstream.healthOf(c.address), c.upstream.answers.of(service.at(c.address)))
}

func (p priority) before(other priority) bool {
	return cmp.Or(
		p.upstreamFailed.Compare(other.upstreamFailed), p.addressFailed.Compare(other.addressFailed),
		cmp.Compare(p.indexes, other.indexes), cmp.Compare(p.address, other.address)) < 0
}

// next returns the best candidate that has not been tried, according to the
// present health. Candidates in good health are ordered by upstream index +
// address index; ties go to the lower address index. Candidates that failed come
// last, the least recent failure first.
func (o *ordering) next() (best candidate, ok bool) {
	o.router.mu.Lock()
	defer o.router.mu.Unlock()
	now := o.router.config.Time()
	best, _, ok = o.best(now)
	if ok {
		o.tried = append(o.tried, best)
		best.upstream.answers.try(o.service.at(best.address), now)
		best.upstream.answers.try(o.service, now)
		best.upstream.loops.try(now)
	}
	return best, ok
}

// best is next, without a change. Under the router's mu.
func (o *ordering) best(now time.Time) (best candidate, highest priority, ok bool) {
	for i, u := range o.upstreams {
		for j, address := range u.addresses(o.dc, o.addresses) {
			c := candidate{u, address}
			if slices.Contains(o.tried, c) {
				continue
			}
			p := priority{u.lastFailure(o.service, now), c.lastFailure(o.service, now), i + j, j}
			if !ok || p.before(highest) {
				best, highest, ok = c, p, true
			}
		}
	}
	return best, highest, ok
}

// retract makes next return c again.
func (o *ordering) retract(c candidate) {
	o.router.mu.Lock()
	defer o.router.mu.Unlock()
	o.tried = slices.DeleteFunc(o.tried, func(tried candidate) bool { return tried == c })
}

// hasNext reports whether a candidate has not been tried.
func (o *ordering) hasNext() bool {
	o.router.mu.Lock()
	defer o.router.mu.Unlock()
	_, _, ok := o.best(o.router.config.Time())
	return ok
}

// hasHealthy reports whether a candidate in good health has not been tried.
func (o *ordering) hasHealthy() bool {
	o.router.mu.Lock()
	defer o.router.mu.Unlock()
	_, p, ok := o.best(o.router.config.Time())
	return ok && p.upstreamFailed.IsZero() && p.addressFailed.IsZero()
}

// recordFailure updates the health after a failed attempt.
func (r *Router) recordFailure(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recordFailureLocked(a)
}

// recordFailureLocked counts a failure of the address behind the upstream; and of
// the upstream as well if the attempt did not reach it, or if
// maxUpstreamFailures attempts in a row have failed through it. r.mu is held.
func (r *Router) recordFailureLocked(a *attempt) {
	now := r.config.Time()
	a.upstream.healthOf(a.address).fail(now)
	a.upstream.failures++
	if !a.reached.Load() || a.upstream.failures >= maxUpstreamFailures {
		a.upstream.health.fail(now)
	}
}

// recordSuccess updates the health after the winning attempt. The attempts that
// started earlier have failed if they have had their delay.
func (r *Router) recordSuccess(winner *attempt, earlier []*attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.config.Time()
	for _, a := range earlier {
		if now.Sub(a.started) >= r.delay(a) {
			r.recordFailureLocked(a)
		}
	}
	winner.upstream.failures = 0
	winner.upstream.health.succeed()
	winner.upstream.healthOf(winner.address).succeed()
}
