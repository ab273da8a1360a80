package proxy

import (
	"iter"
	"sync/atomic"
)

// Stats is what a proxy has counted since it was made.
type Stats struct {
	// Open is how many connections there are now, Relaying how many of them are
	// connected to a data centre.
	Open, Relaying int64
	// Pending is how many of them are not authenticated, and Fronted how many of
	// these are connected to a fronting host. Proxy.Limits has the limits.
	Pending, Fronted int64
	// Accepted is how many were opened, Authenticated how many of their clients
	// had a secret, and Unauthenticated how many have sent something and did not.
	Accepted, Authenticated, Unauthenticated int64
	// SearchesSkipped is how many clients were not searched for among all
	// secrets, because failed searches had used up their budget and the searches
	// of other clients came first.
	SearchesSkipped int64
	// Evicted is how many unauthenticated connections were closed to make room
	// for others.
	Evicted int64
	// Refused is how many clients with a secret the policy did not admit: they are
	// unauthenticated.
	Refused int64
	// RefusedAddress is how many clients Config.Permit did not permit: they are
	// unauthenticated.
	RefusedAddress int64
	// RefusedMode is how many clients had a secret that does not allow their mode:
	// they are unauthenticated. RefusedFraming is how many authenticated clients have
	// a framing that no upstream takes: see ProbeClassic.
	RefusedMode, RefusedFraming int64
	// Unreachable is how often no address of a data centre could be connected.
	Unreachable int64
	// Moved is how often a client was moved on to another address or upstream,
	// because the one before it did not answer.
	Moved int64
	// Loops is how many clients were the proxy itself, because an upstream leads back
	// to it.
	Loops int64
	// Stalls is how often a data centre did not answer; see
	// Config.StallTimeout.
	Stalls int64
	// TransportErrors is how many sessions began with a transport error from the
	// data centre.
	TransportErrors int64
	// WebStreams is how many of the open connections are streams of a WEB relay.
	WebStreams int64
	// Up and Down are the bytes of all connections, open ones included. What another
	// process has moved of sessions of Adopt does not count.
	Up, Down int64
	// Stages is how many of the open connections have come how far, by Stage.
	Stages [FirstByteDown + 1]int64
}

// counters are the numbers behind Stats, except for bytes.
type counters struct {
	open, relaying, accepted, authenticated, unauthenticated                                                                                       atomic.Int64
	searchesSkipped, evicted, refused, refusedAddress, refusedMode, refusedFraming, unreachable, moved, loops, stalls, transportErrors, webStreams atomic.Int64
}

// Stats returns the numbers as they are now.
func (p *Proxy) Stats() Stats {
	stats, _ := p.sum(nil)
	return stats
}

// sum returns the sums over all connections and, if ended is not nil, calls it with
// those of the connections that have ended, under mu, before it returns those that were
// open at that time.
func (p *Proxy) sum(ended func(*usages)) (Stats, []*session) {
	c := &p.counters
	stats := Stats{
		Open: c.open.Load(), Relaying: c.relaying.Load(),
		Pending: int64(p.pending.Len()), Fronted: int64(p.fronted.Len()),
		Accepted: c.accepted.Load(), Authenticated: c.authenticated.Load(), Unauthenticated: c.unauthenticated.Load(),
		RefusedAddress: c.refusedAddress.Load(), RefusedMode: c.refusedMode.Load(), RefusedFraming: c.refusedFraming.Load(),
		SearchesSkipped: c.searchesSkipped.Load(), Evicted: c.evicted.Load(), Refused: c.refused.Load(), Unreachable: c.unreachable.Load(),
		Moved: c.moved.Load(), Loops: c.loops.Load(), Stalls: c.stalls.Load(), TransportErrors: c.transportErrors.Load(),
		WebStreams: c.webStreams.Load(),
	}
	// Ended and open sessions are taken at one time, so that each counts once.
	p.mu.Lock()
	stats.Up, stats.Down = p.ended.up, p.ended.down
	open := p.openSessions()
	if ended != nil {
		ended(&p.ended)
	}
	p.mu.Unlock()
	for _, s := range open {
		up, down := s.movedBytes()
		stats.Up, stats.Down = stats.Up+up, stats.Down+down
		stats.Stages[min(Stage(s.stage.Load()), FirstByteDown)]++
	}
	return stats, open
}

// movedBytes returns how many bytes have moved in this process.
func (s *session) movedBytes() (up, down int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	up, down = s.bytes()
	return up - s.before.up, down - s.before.down
}

// Sessions returns the sessions that are open, in no order.
func (p *Proxy) Sessions() iter.Seq[Session] {
	p.mu.Lock()
	open := p.openSessions()
	p.mu.Unlock()
	return func(yield func(Session) bool) {
		for _, s := range open {
			if !yield(s) {
				return
			}
		}
	}
}

// openSessions returns the open sessions. Under mu.
func (p *Proxy) openSessions() []*session {
	all := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		all = append(all, s)
	}
	return all
}

// each calls do with every open session.
func (p *Proxy) each(do func(*session)) {
	p.mu.Lock()
	open := p.openSessions()
	p.mu.Unlock()
	for _, s := range open {
		do(s)
	}
}
