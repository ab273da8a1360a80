package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/mtwire/mtwire/internal/drain"
)

// errStopping is the cause of sessions that end with the proxy.
var errStopping = errors.New("the proxy stops")

const (
	// idleTime is how long the first byte of a connection may be on its way. Until then the
	// connection waits to be moved to another process.
	idleTime = time.Second
	// blockedTime is drain.IdleTime for a session with queued bytes that a peer does
	// not read: it has stopped for a while, or is gone.
	blockedTime = 5 * time.Second
	// handshakeGrace is how long after its beginning a session may be in its
	// handshake.
	handshakeGrace = 5 * time.Second
	// idleTick is the time between two looks at the sessions.
	idleTick = 250 * time.Millisecond
)

// Shutdown stops accepting connections, closes each session as soon as it has
// been idle for a second, or for five if it has bytes that a peer does not read,
// and returns when none is left. Time in which the process was stopped, as with its
// container or its machine, does not count. When ctx ends it closes the rest at once, and
// returns ctx's error. Serve returns ErrStopped, also if it is called afterwards.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.stopAccepting(ErrStopped)
	p.awaitServe(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.ending.Wait()
	}()
	tick := time.NewTicker(idleTick)
	defer tick.Stop()
	looks := drain.NewLooks(time.Now(), idleTick)
	var err error
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-ctx.Done():
			err, waiting = ctx.Err(), false
			p.stopSessions()
			<-done
		case <-tick.C:
			if looks.Late(time.Now()) {
				continue
			}
			p.each(func(s *session) {
				if s.idle() {
					s.Close(errStopping)
				}
			})
		}
	}
	p.stop() // sessions are over, so nothing is parked in the poller
	p.background.Wait()
	p.settings().router.Close()
	p.workers.Close()
	p.log.flush()
	p.resolver.Close()
	return err
}

// CloseIdle closes the sessions that Shutdown would close now, but for the streams of a WEB
// relay and the connections that carry these: a relay that is shut down itself ends them
// together. The proxy goes on.
func (p *Proxy) CloseIdle() {
	p.each(func(s *session) {
		if s.webStream() == nil && !s.carries() && s.idle() {
			s.Close(errStopping)
		}
	})
}

// Close stops the proxy and closes all sessions at once. It returns when they
// have ended.
func (p *Proxy) Close() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	p.Shutdown(ended)
}

// stopAccepting makes Serve return cause, unless it was called before.
func (p *Proxy) stopAccepting(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopServing(cause)
}

// awaitServe waits until Serve has returned, or ctx has ended. After it there are no
// new sessions. Without the wait, connections that Serve has just accepted would be
// refused.
func (p *Proxy) awaitServe(ctx context.Context) {
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		p.serving.Wait()
	}()
	select {
	case <-returned:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sealed = true
}

// stopSessions closes all sessions.
func (p *Proxy) stopSessions() { p.each(func(s *session) { s.Close(errStopping) }) }
