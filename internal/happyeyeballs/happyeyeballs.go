// Package happyeyeballs connects to the first of several addresses that answers.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8305
package happyeyeballs

import (
	"context"
	"net"
	"time"
)

// race is the attempts of one Dial. Its goroutines use results and nothing else that
// changes; the rest runs in the caller's.
type race struct {
	dial    func(ctx context.Context, i int) (net.Conn, error)
	n       int
	results chan result
	started int
	running int
}

// result is the end of one attempt.
type result struct {
	index int
	conn  net.Conn
	err   error
}

// Dial connects to one of n addresses, at least one, with dial, which is called with an
// index, in order and possibly concurrently. The next attempt starts when one fails, or
// after delay, the Connection Attempt Delay. The first to connect wins.
//
// Dial returns the connection and its index, or nil and the errors of the attempts in
// the order in which they failed. When it returns, all other attempts have ended and
// their connections are closed.
func Dial(ctx context.Context, n int, delay time.Duration, dial func(ctx context.Context, i int) (net.Conn, error)) (conn net.Conn, index int, errs []error) {
	if n == 1 {
		conn, err := dial(ctx, 0)
		if err != nil {
			return nil, 0, []error{err}
		}
		return conn, 0, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	r := race{dial: dial, n: n, results: make(chan result, n)}
	defer r.stop(cancel)
	r.start(ctx)
	next := time.NewTicker(delay)
	defer next.Stop()
	for r.running > 0 {
		select {
		case <-next.C:
			r.start(ctx)
		case got := <-r.results:
			r.running--
			if got.err == nil {
				return got.conn, got.index, nil
			}
			errs = append(errs, got.err)
			if ctx.Err() == nil {
				r.start(ctx)
				next.Reset(delay)
			}
		}
	}
	return nil, 0, errs
}

// start starts the next attempt, if there is one.
func (r *race) start(ctx context.Context) {
	if r.started == r.n {
		return
	}
	i := r.started
	r.started++
	r.running++
	go func() {
		conn, err := r.dial(ctx, i)
		r.results <- result{i, conn, err}
	}()
}

// stop ends the attempts that run, and closes their connections.
func (r *race) stop(cancel context.CancelFunc) {
	cancel()
	for range r.running {
		if late := <-r.results; late.conn != nil {
			late.conn.Close()
		}
	}
}
