package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxAttempts is how many paths are tried for one client. It has given up
	// by the time that more could have been.
	maxAttempts = 4

	// headStart is how long a direct attempt has for itself until the next one
	// begins beside it: a little more than RFC 8305, section 5, recommends,
	// because data centres are farther away than web servers.
	headStart = 300 * time.Millisecond

	// headStartVia is the same for attempts that go through an upstream, which
	// takes several round trips, and then those of the upstream.
	headStartVia = time.Second
)

// attempt is one path that is being tried. conn and err are set when it is
// over.
type attempt struct {
	path
	began   time.Time
	reached atomic.Bool // the way, if not the address behind it
	conn    net.Conn
	err     error
}

// race is the attempts of one Dial. Its goroutines make one attempt each and
// touch nothing but that; all else happens in Dial's own.
type race struct {
	router  *Router
	choice  choice
	results chan *attempt
	begun   int
	running []*attempt // in the order in which they began
}

// race tries the addresses until an attempt connects.
func (r *Router) race(ctx context.Context, addresses []string) (*attempt, error) {
	race := race{router: r, choice: r.choose(addresses), results: make(chan *attempt, maxAttempts)}
	return race.run(ctx)
}

func (r *race) run(ctx context.Context) (*attempt, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer r.end(cancel)
	var failed failures
	next := time.NewTimer(r.start(ctx))
	defer next.Stop()
	for len(r.running) > 0 {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-next.C:
			next.Reset(r.start(ctx))
		case a := <-r.results:
			before := slices.Index(r.running, a)
			r.running = slices.Delete(r.running, before, before+1)
			if a.err == nil {
				r.router.won(a, r.running[:before])
				return a, nil
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx) // which is what made it fail
			}
			r.router.failed(a)
			failed = append(failed, a.describe())
			next.Reset(r.start(ctx))
		}
	}
	return nil, failed
}

// start begins the next attempt, if there is one, and returns how long it has
// for itself.
func (r *race) start(ctx context.Context) time.Duration {
	if r.begun == maxAttempts {
		return r.router.config.DialTimeout // until when all have ended
	}
	p, ok := r.choice.next()
	if !ok {
		return r.router.config.DialTimeout
	}
	a := &attempt{path: p, began: r.router.config.Time()}
	r.begun++
	r.running = append(r.running, a)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, r.router.config.DialTimeout)
		defer cancel()
		a.conn, a.err = r.router.connect(ctx, a)
		r.results <- a
	}()
	return a.headStart()
}

// headStart is how long the attempt has for itself.
func (a *attempt) headStart() time.Duration {
	if a.way.kind == direct {
		return headStart
	}
	return headStartVia
}

// end ends the attempts that have not won, and waits for them.
func (r *race) end(cancel context.CancelFunc) {
	cancel()
	for range r.running {
		if a := <-r.results; a.conn != nil {
			a.conn.Close()
		}
	}
}

// describe is an attempt's error in a few words: where, by which way, why. The
// net package's own would name addresses once more, this end's among them.
func (a *attempt) describe() error {
	err := a.err
	for op := (*net.OpError)(nil); errors.As(err, &op); {
		err = op.Err
	}
	return fmt.Errorf("%s (%s): %w", a.address, a.way, err)
}

// failures are the errors of all attempts, in one line.
type failures []error

func (f failures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (f failures) Unwrap() []error { return f }
