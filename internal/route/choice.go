package route

import (
	"cmp"
	"time"
)

// way is an upstream, and what is remembered of it. All fields but Upstream
// are under the router's lock.
type way struct {
	Upstream

	turn     int                // of the weighted round robin
	health   health             // of the way out itself
	failures int                // of attempts through it, in a row
	behind   map[string]*health // of the addresses behind it
}

// failuresOfWay is how many attempts through a way have to fail in a row until
// the way is to blame, when the way itself could be reached: by then it is more
// likely a refused password than as many dead addresses.
const failuresOfWay = 3

// healthOf returns what is remembered of an address behind w. There are no more
// addresses than the table and the configuration have.
func (w *way) healthOf(address string) *health {
	h := w.behind[address]
	if h == nil {
		h = &health{}
		w.behind[address] = h
	}
	return h
}

// path is one address by one way.
type path struct {
	*way
	address string
}

// choice hands out the paths of one Dial.
type choice struct {
	router    *Router
	addresses []string
	ways      []*way // in the order in which they are wanted
	tried     map[path]bool
}

// choose starts a choice among all paths to the addresses.
func (r *Router) choose(addresses []string) choice {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := choice{router: r, addresses: addresses, tried: make(map[path]bool)}
	first := r.nextWay(r.config.Time())
	if first != nil {
		c.ways = append(c.ways, first)
	}
	for _, w := range r.ways {
		if w != first {
			c.ways = append(c.ways, w)
		}
	}
	return c
}

// nextWay is a smooth weighted round robin among the ways in good health: of
// weights 3 and 1 it takes A A B A, and so on. It returns nil if there is none.
func (r *Router) nextWay(now time.Time) (next *way) {
	total := 0
	for _, w := range r.ways {
		if w.health.failing(now) {
			continue
		}
		total += w.weight()
		w.turn += w.weight()
		if next == nil || w.turn > next.turn {
			next = w
		}
	}
	if next != nil {
		next.turn -= total
	}
	return next
}

// rank is a path's place in the queue. Times are zero for good health.
type rank struct {
	wayFailed, addressFailed time.Time
	sum, address             int // both count from 0, the most wanted
}

// rank is that of the i-th way's path to the j-th address.
func (p path) rank(i, j int, now time.Time) rank {
	return rank{p.way.health.lastFailure(now), p.way.healthOf(p.address).lastFailure(now), i + j, j}
}

func (r rank) before(other rank) bool {
	return cmp.Or(
		r.wayFailed.Compare(other.wayFailed), r.addressFailed.Compare(other.addressFailed),
		cmp.Compare(r.sum, other.sum), cmp.Compare(r.address, other.address)) < 0
}

// next returns the best path that has not been tried yet, as things stand now:
// what is in good health first, in the order in which it is wanted; then what
// failed, the least recently first. The first address by the second way is
// wanted as much as the second by the first, and before it.
func (c *choice) next() (best path, ok bool) {
	c.router.mu.Lock()
	defer c.router.mu.Unlock()
	now := c.router.config.Time()
	var highest rank
	for i, w := range c.ways {
		for j, address := range w.addresses(c.addresses) {
			p := path{w, address}
			if c.tried[p] {
				continue
			}
			if r := p.rank(i, j, now); !ok || r.before(highest) {
				best, highest, ok = p, r, true
			}
		}
	}
	if ok {
		c.tried[best] = true
	}
	return best, ok
}

// failed remembers that an attempt failed.
func (r *Router) failed(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blame(a)
}

// blame is failed with the lock held: the address as seen by this way is to
// blame, and the way as well if it could not even be reached itself, or if
// nothing gets through it.
func (r *Router) blame(a *attempt) {
	now := r.config.Time()
	a.way.healthOf(a.address).fail(now)
	a.way.failures++
	if !a.reached.Load() || a.way.failures >= failuresOfWay {
		a.way.health.fail(now)
	}
}

// won remembers that an attempt succeeded, and that those before it did not in
// spite of their head start.
func (r *Router) won(winner *attempt, before []*attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.config.Time()
	for _, a := range before {
		if now.Sub(a.began) >= a.headStart() {
			r.blame(a)
		}
	}
	winner.way.failures = 0
	winner.way.health.succeed()
	winner.way.healthOf(winner.address).succeed()
}
