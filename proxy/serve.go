package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/splice"
)

// ErrStopped is returned by Serve after Shutdown or Close.
var ErrStopped = errors.New("proxy: stopped")

// Serve accepts connections from ln until ctx ends, ln fails, or the proxy is
// stopped, and returns the reason. It closes ln. Any number of listeners may be
// served at the same time, and one after the other: the connections that came
// through ln stay open when Serve returns, until Shutdown or Close.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := p.start(); err != nil {
		return err
	}
	defer p.serving.Done()
	defer context.AfterFunc(p.accepting, func() { cancel(context.Cause(p.accepting)) })()
	defer netx.CloseAfter(ctx, ln)()
	watched := netx.Watch(ln)
	defer p.watch(watched)()
	err := netx.AcceptLoop(ctx, watched, p.handle, func(err error) {
		p.shortage.MakeRoom(err)
		p.trace.acceptDelayed(ln.Addr(), err)
	})
	// The proxy may have stopped, and ln been closed, before ctx has learnt of it.
	return cmp.Or(context.Cause(ctx), context.Cause(p.accepting), err)
}

// start begins a Serve, which calls serving.Done at its end. The first time, it starts
// what all sessions share. It fails if the proxy is stopped.
func (p *Proxy) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cause := context.Cause(p.accepting); cause != nil {
		return cause
	}
	if p.relaying.Poller != nil {
		p.serving.Add(1)
		return nil
	}
	poller, err := splice.NewPoller()
	if err != nil {
		return err
	}
	p.serving.Add(1)
	poller.Go = p.workers.Go
	p.relaying.Poller = poller
	p.setRelayLocked()
	p.fronts.SetPoller(poller)
	p.background.Go(func() {
		if err := poller.Serve(p.running); p.running.Err() == nil {
			p.fail(fmt.Errorf("proxy: idle connections cannot be woken: %w", err))
		}
	})
	p.background.Go(func() { p.fronts.Run(p.running) })
	return nil
}

// watch has Responds ask the accept loop of ln, until the loop is over and stop is called.
func (p *Proxy) watch(ln *netx.WatchedListener) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepters = append(p.accepters, ln)
	return func() {
		ln.End()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.accepters = slices.DeleteFunc(p.accepters, func(other *netx.WatchedListener) bool { return other == ln })
	}
}

// Responds returns nil when p has shown that it can serve its sessions and accept others: its
// lock is free, the goroutines that wake idle sessions are woken themselves, and those that
// accept connections come back for the next one. The listeners that are served need the method
// SetDeadline for that, as those of package net have; others are not asked. It returns the cause
// of ctx's end if that is before, and blocks for as long as the lock is not free. It is for a
// watchdog. Before the first Serve there is nothing to be woken.
func (p *Proxy) Responds(ctx context.Context) error {
	p.mu.Lock()
	poller, accepters := p.relaying.Poller, slices.Clone(p.accepters)
	p.mu.Unlock()
	if poller == nil {
		return nil
	}
	for _, ln := range accepters {
		if err := ln.Responds(ctx); err != nil {
			return fmt.Errorf("proxy: connections to %v are not accepted: %w", ln.Addr(), err)
		}
	}
	return poller.Responds(ctx)
}

// fail ends the proxy: Serve returns cause.
func (p *Proxy) fail(cause error) {
	p.stopAccepting(cause)
	p.stopSessions()
}

// handle starts the session of an accepted connection.
func (p *Proxy) handle(socket net.Conn) {
	s := &session{unauthenticated: &unauthenticated{}, proxy: p, id: p.lastID.Add(1), socket: socket, start: time.Now()}
	// Until the client is authenticated, the connection is to look like one of the
	// site's, and most sites send no keep-alive probes.
	if _, bare := socket.(*netx.Socket); !bare { // which has none from the beginning
		netx.SetLiveness(socket, netx.Liveness{Idle: -1})
	}
	if !p.add(s) {
		socket.Close()
		return
	}
	if s.startsParked() && !p.settings().readsHeaders {
		s.run() // does not block
		return
	}
	p.workers.Go(func() {
		if err := s.readHeader(); err != nil {
			s.end(splice.Result{Err: err}, splice.Result{})
			return
		}
		s.run()
	})
}

// add reports whether s is one of the proxy's sessions now: it is not if the
// proxy is stopped. A connection that was accepted meanwhile is not refused.
func (p *Proxy) add(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sealed {
		return false
	}
	p.counters.accepted.Add(1)
	if s.webStream() != nil {
		p.counters.webStreams.Add(1)
	}
	p.memory.changed(p.counters.open.Add(1))
	p.sessions[s] = struct{}{}
	p.ending.Add(1)
	return true
}

// remove removes s, with its last report.
func (p *Proxy) remove(s *session, r Report) {
	s.leave()
	p.mu.Lock()
	delete(p.sessions, s)
	p.ended.add(r, s.before, p.users.Load())
	p.mu.Unlock()
	p.memory.changed(p.counters.open.Add(-1))
	if s.webStream() != nil {
		p.counters.webStreams.Add(-1)
	}
	p.ending.Done()
}
