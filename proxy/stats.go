package proxy

import (
	"sync/atomic"
)

// Stats is what a proxy has counted since it was made.
type Stats struct {
	// Open is how many connections there are now, Carried how many of them are
	// connected to a data centre.
	Open, Carried int64
	// Accepted is how many have been opened, Authenticated how many of them
	// knew a secret, and Strangers how many have said something and did not.
	Accepted, Authenticated, Strangers int64
	// Unsearched is how many of these were not looked for among all secrets,
	// because strangers had used up what they may cost.
	Unsearched int64
	// Unreachable is how often no address of a data centre could be reached.
	Unreachable int64
	// Stalls is how often a data centre did not answer; see
	// Config.StallTimeout.
	Stalls int64
	// TransportErrors is how many transport errors data centres sent first.
	TransportErrors int64
	// Up and Down are the bytes of connections that have ended.
	Up, Down int64
}

// counters are the numbers behind Stats.
type counters struct {
	open, carried, accepted, authenticated, strangers          atomic.Int64
	unsearched, unreachable, stalls, transportErrors, up, down atomic.Int64
}

// Stats returns the numbers as they stand.
func (p *Proxy) Stats() Stats {
	c := &p.counters
	return Stats{
		Open: c.open.Load(), Carried: c.carried.Load(),
		Accepted: c.accepted.Load(), Authenticated: c.authenticated.Load(), Strangers: c.strangers.Load(),
		Unsearched: c.unsearched.Load(), Unreachable: c.unreachable.Load(), Stalls: c.stalls.Load(), TransportErrors: c.transportErrors.Load(),
		Up: c.up.Load(), Down: c.down.Load(),
	}
}
