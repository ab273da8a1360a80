package proxy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/fronting"
	"github.com/mtwire/mtwire/internal/netx"
)

// mirrorDelay is how long after a client's connection its fronting host is
// connected for it, if it is neither authenticated nor rejected by then. Real
// clients have sent their hello, and are authenticated. The host's clock runs
// late by this much, which is less than network delays vary.
const mirrorDelay = 50 * time.Millisecond

// What ends the handshake of a client that is not decided about.
var (
	errHostActed  = errors.New("the fronting host acted before the client was authenticated")
	errNoAnswer   = errors.New("the client was not authenticated in time")
	errClientGone = errors.New("the client ended its stream")
)

// mirror connects the fronting host of a client that is undecided: it forwards the
// client's bytes as they come, while the handshake keeps them as well. The first
// to act decides: if the host sends something or closes, the client is
// unauthenticated and sees just that; if the client authenticates, the host's
// connection is closed and nothing of it has reached the client. So an active
// probe gets the host's answer at the host's time, whatever part of a handshake
// it sends.
type mirror struct {
	s *session
	// end ends the client's handshake.
	end context.CancelCauseFunc

	running sync.WaitGroup // the goroutines of run and wait

	mu      sync.Mutex
	ctx     context.Context    // from start on
	cancel  context.CancelFunc // likewise
	timer   *time.Timer        // calls start; nil once it has
	started bool
	stopped bool
	held    bool   // the host does not decide, because the key search does
	acted   bool   // the host has sent something, or has closed
	first   []byte // what the client has sent, as far as it is known
	host    *fronting.Preconnected
	limit   *time.Timer // of a client for which there is no host
}

// newMirror returns a mirror that starts after mirrorDelay, and that stop ends. end
// ends the handshake.
func newMirror(s *session, end context.CancelCauseFunc) *mirror {
	m := &mirror{s: s, end: end}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer = time.AfterFunc(mirrorDelay, m.start)
	return m
}

// start connects the host, unless that was done or the client is decided about.
func (m *mirror) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started || m.stopped {
		return
	}
	m.started, m.timer = true, nil
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.running.Go(m.run)
}

// update notes all that the client has sent so far.
func (m *mirror) update(first []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.limit != nil && len(m.first) == 0 {
		m.limit.Reset(netx.UnansweredTime())
	}
	next := first[len(m.first):]
	if m.host != nil {
		m.host.Forward(next)
	}
	m.first = append(m.first, next...)
}

func (m *mirror) run() {
	m.mu.Lock()
	first := slices.Clone(m.first)
	m.mu.Unlock()
	m.s.enterFronted()
	host, err := m.s.proxy.fronts.Preconnect(m.ctx, m.s.frontingClient(), first)
	if err != nil {
		m.s.proxy.fronted.Leave(&m.s.fronted)
		m.limitWithoutHost()
		return
	}
	m.mu.Lock()
	m.host = host
	host.Forward(m.first)
	m.mu.Unlock()
	if !host.Await(m.hostReady) {
		m.wait()
	}
}

// hostReady is called when wait is due.
func (m *mirror) hostReady() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopped {
		m.running.Go(m.wait)
	}
}

// wait waits for the host.
func (m *mirror) wait() {
	if m.host.Wait(m.ctx) == nil {
		m.s.setClass(admission.Answered)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.acted = true; !m.held {
			m.end(errHostActed)
		}
	}
}

// ask forwards first, all that the client has sent, at once.
func (m *mirror) ask(first []byte) {
	m.update(first)
	m.start()
}

// hold is ask, and leaves the decision to the handshake until release.
func (m *mirror) hold(first []byte) {
	m.mu.Lock()
	m.held = true
	m.mu.Unlock()
	m.ask(first)
}

// release undoes hold. If the host has acted meanwhile, and the handshake waits for
// more of the client, the host decides.
func (m *mirror) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held = false; m.acted {
		m.end(errHostActed)
	}
}

// limitWithoutHost limits a client for which there is no host: the time that it may
// be silent, or that it may take from its first byte on.
func (m *mirror) limitWithoutHost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	limit := netx.UnansweredTime()
	if len(m.first) == 0 {
		limit = silenceLimit()
	}
	if !m.stopped {
		m.limit = time.AfterFunc(limit, func() { m.end(errNoAnswer) })
	}
}

// stop ends the mirror. It returns the host's connection, nil if there is none,
// which is the caller's.
func (m *mirror) stop() *fronting.Preconnected {
	m.mu.Lock()
	m.stopped = true
	if m.limit != nil {
		m.limit.Stop()
	}
	if m.timer != nil {
		m.timer.Stop()
	}
	cancel := m.cancel
	m.mu.Unlock()
	if cancel == nil { // not started
		return nil
	}
	cancel()
	m.running.Wait()
	return m.host
}
