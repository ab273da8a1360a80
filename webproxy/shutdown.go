package webproxy

import (
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/mtwire/mtwire/internal/drain"
)

const (
	// drainTick is the time between two looks at the sessions.
	drainTick = 250 * time.Millisecond
	// blockedTicks is for how many of these a session with bytes that wait has moved nothing
	// when it ends.
	blockedTicks = 20
)

// idleTicks returns for how many looks a session has moved nothing when nothing is lost by its end.
func idleTicks() int { return int(drain.IdleTime / drainTick) }

// Shutdown ends the server gracefully. It makes no session any more, ends each one when
// it has moved no bytes for a second, or for five if some wait to be taken, and returns when
// none is left. New streams of sessions that are open are accepted meanwhile: their clients
// have no other way. When ctx ends it ends the rest at once, and returns ctx's error. The
// server is closed then.
//
// Requests without a session get their answers with Connection: close, so that the client's
// next one is on another connection, which another process may serve.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	defer s.Close()
	seen := make(map[*session]progress)
	for {
		s.mu.Lock()
		sessions := slices.Collect(maps.Values(s.sessions))
		s.mu.Unlock()
		if len(sessions) == 0 {
			return nil
		}
		for _, session := range sessions {
			now := seen[session]
			if now.look(session.mux); now.over() {
				session.end(nil)
				delete(seen, session)
				continue
			}
			seen[session] = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closed:
			return net.ErrClosed
		}
	}
}

// progress is what a session has moved, and for how many looks nothing.
type progress struct {
	moved uint64
	waits bool // bytes wait to be taken
	ticks int
}

func (p *progress) look(m *mux) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.waits = m.outgoing > 0 || m.incoming > 0
	moved := m.moved.Load() + 1
	if p.ticks++; p.moved != moved {
		p.moved, p.ticks = moved, 0
	}
}

func (p *progress) over() bool {
	idle := idleTicks()
	return p.ticks >= max(blockedTicks, idle) || p.ticks >= idle && !p.waits
}

// drain has the connection of a request without a session end, if the server is about to.
func (s *Server) drain(w http.ResponseWriter) {
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
}
