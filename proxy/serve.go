package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/splice"
)

// ErrStopped is what Serve returns after Shutdown.
var ErrStopped = errors.New("proxy: it was shut down")

// errStopping is why connections end that are in the way of that.
var errStopping = errors.New("the proxy stops")

const (
	// quietTime is how long a connection must have been silent to be closed
	// during a shutdown: nothing is under way in it.
	quietTime = time.Second
	// stuckTime is the same for a connection in which bytes are under way that
	// nobody takes: its client reads nothing for a while, or is gone.
	stuckTime = 5 * time.Second
	// handshakeGrace is how long after its beginning a connection that is not
	// carried yet may still be on its way.
	handshakeGrace = 5 * time.Second
	// quietTick is how often that is looked at.
	quietTick = 250 * time.Millisecond
)

// serving is what Shutdown needs to know of Serve.
type serving struct {
	refuse context.CancelCauseFunc // stops accepting
	end    context.CancelCauseFunc // stops all
	over   chan struct{}           // closed when Serve returns
}

// stopped stands for a Serve that is not to begin any more.
var stopped = &serving{}

// Serve takes connections from the listeners until ctx ends, one of them
// fails, or Shutdown is called. It closes them and returns when all connections
// are gone. A proxy serves once.
func (p *Proxy) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	accepting, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	now := &serving{refuse: refuse, end: end, over: make(chan struct{})}
	defer close(now.over)
	if !p.serving.CompareAndSwap(nil, now) {
		closeAll(listeners)
		if p.serving.Load() == stopped {
			return ErrStopped
		}
		return errors.New("proxy: it serves already, or has served")
	}
	poller, err := splice.NewPoller()
	if err != nil {
		closeAll(listeners)
		return err
	}
	p.relaying.Poller = poller

	// The poller outlives ctx: connections are ended by their sessions.
	var helpers sync.WaitGroup
	defer helpers.Wait()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	helpers.Go(func() {
		if err := poller.Serve(background); background.Err() == nil {
			end(fmt.Errorf("proxy: those that wait cannot be woken: %w", err))
		}
	})
	if p.front != nil {
		helpers.Go(func() { p.front.Run(background) })
	}

	var acceptors sync.WaitGroup
	for _, ln := range listeners {
		acceptors.Go(func() {
			defer context.AfterFunc(accepting, func() { ln.Close() })()
			refuse(p.accept(ctx, accepting, ln))
		})
	}
	acceptors.Wait()
	<-accepting.Done() // there may be no listeners
	cause := context.Cause(accepting)
	if !errors.Is(cause, ErrStopped) {
		end(cause)
	}
	defer context.AfterFunc(ctx, func() { p.each(func(s *session) { s.abort(errStopping) }) })()
	p.running.Wait()
	return cause
}

func closeAll(listeners []net.Listener) {
	for _, ln := range listeners {
		ln.Close()
	}
}

// accept takes connections from one listener while accepting goes on. ctx is
// theirs.
func (p *Proxy) accept(ctx, accepting context.Context, ln net.Listener) error {
	terms := mtwire.NewListener(ln, &p.listen)
	return netx.AcceptLoop(accepting, ln, func(socket net.Conn) {
		s := &session{proxy: p, socket: socket, start: time.Now()}
		p.add(s)
		go s.run(ctx, terms)
	}, p.delayed())
}

// delayEvery is how often it is logged at most that no connection can be
// accepted.
const delayEvery = time.Minute

// delayed tells the operator of one listener that nobody gets in, and why.
func (p *Proxy) delayed() func(error) {
	var next time.Time
	return func(err error) {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(delayEvery)
			p.config.Log.Warn("clients have to wait: no connection can be accepted", "cause", err)
		}
	}
}

// Shutdown stops taking connections, closes each that there is as soon as it
// has been silent for a second, or for five if bytes are under way in it that
// somebody does not take, and returns when none is left. When ctx ends it
// closes the rest at once, and returns why. Serve returns ErrStopped, also if it
// is called only afterwards.
func (p *Proxy) Shutdown(ctx context.Context) error {
	if p.serving.CompareAndSwap(nil, stopped) {
		return nil
	}
	now := p.serving.Load()
	if now == stopped {
		return nil
	}
	now.refuse(ErrStopped)
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	for {
		select {
		case <-now.over:
			return nil
		case <-ctx.Done():
			now.end(errStopping)
			<-now.over
			return ctx.Err()
		case <-tick.C:
			p.each(func(s *session) {
				if s.quiet() {
					s.abort(errStopping)
				}
			})
		}
	}
}

func (p *Proxy) add(s *session) {
	p.counters.accepted.Add(1)
	p.counters.open.Add(1)
	p.running.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[s] = struct{}{}
}

func (p *Proxy) forget(s *session) {
	p.lobby.leave(s)
	p.mu.Lock()
	delete(p.sessions, s)
	p.mu.Unlock()
	p.counters.open.Add(-1)
	p.running.Done()
}

// each calls do with every session.
func (p *Proxy) each(do func(*session)) {
	p.mu.Lock()
	all := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		all = append(all, s)
	}
	p.mu.Unlock()
	for _, s := range all {
		do(s)
	}
}
