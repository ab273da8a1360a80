package proxy

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// stall notices a data centre that takes bytes and answers nothing. It costs a
// session that moves bytes one timer in StallTimeout, and one that is silent
// none. It is told once for each session: clients send acknowledgements, too,
// that nothing is answered to.
type stall struct {
	// since is when a byte was sent up that nothing has come down after, in
	// nanoseconds of the session's age; 0 if there is none.
	since atomic.Int64
	timed atomic.Bool // there is a timer

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

// expect notes that a byte goes up, which something should come down after.
func (s *session) expect() {
	w := &s.stall
	if w.since.Load() == 0 {
		w.since.Store(max(int64(time.Since(s.start)), 1))
	}
	if s.proxy.config.StallTimeout > 0 && !w.timed.Load() && w.timed.CompareAndSwap(false, true) {
		w.start(s.proxy.config.StallTimeout, s.look)
	}
}

// answered notes that something came down.
func (w *stall) answered() {
	if w.since.Load() != 0 {
		w.since.Store(0)
	}
}

func (w *stall) start(after time.Duration, look func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.timer = time.AfterFunc(after, look)
	}
}

// stop lets go of the session, of which the timer has hold.
func (w *stall) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *stall) isOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over
}

// pause goes on without a timer until something goes up again.
func (w *stall) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = nil
	w.timed.Store(false)
}

// look is called by the timer.
func (s *session) look() {
	since := s.stall.since.Load()
	if since == 0 {
		s.stall.pause()
		if s.stall.since.Load() != 0 { // since it was looked at, and no timer was started for it
			s.expect()
		}
		return
	}
	waited := time.Since(s.start) - time.Duration(since)
	if left := s.proxy.config.StallTimeout - waited; left > 0 {
		s.stall.start(left, s.look)
		return
	}
	if s.stall.isOver() {
		return
	}
	s.proxy.counters.stalls.Add(1)
	level := slog.LevelInfo
	if stage(s.stage.Load()) < firstDown {
		level = slog.LevelWarn // not a pause in the conversation
	}
	s.proxy.config.Log.LogAttrs(context.Background(), level, "stalled: bytes went up and none came down",
		slog.Int("dc", int(s.dc)), slog.String("address", s.leg.Address), slog.String("via", s.leg.Via),
		slog.String("stage", stage(s.stage.Load()).String()), slog.Duration("waited", waited.Round(time.Millisecond)))
}
