package proxy

import (
	"context"
	"log/slog"
	"time"
)

// A data centre that takes bytes and answers nothing has stalled. To notice it
// costs a session that moves bytes one timer in StallTimeout, and one that is
// silent none.

// expect notes that a byte went up, which something should come down after.
func (s *session) expect(now int64) {
	if s.waiting.Load() == 0 {
		s.waiting.Store(max(now, 1))
	}
	if s.proxy.config.StallTimeout > 0 && !s.timing.Load() && s.timing.CompareAndSwap(false, true) {
		time.AfterFunc(s.proxy.config.StallTimeout, s.look)
	}
}

// look is called by the timer.
func (s *session) look() {
	since := s.waiting.Load()
	if since == 0 {
		s.timing.Store(false)
		return
	}
	waited := time.Since(s.start) - time.Duration(since)
	if left := s.proxy.config.StallTimeout - waited; left > 0 {
		time.AfterFunc(left, s.look)
		return
	}
	s.waiting.Store(0)
	s.timing.Store(false)
	if s.ended.Load() {
		return
	}
	s.proxy.counters.stalls.Add(1)
	level := slog.LevelInfo
	if Stage(s.stage.Load()) < FirstDown {
		level = slog.LevelWarn // not a pause in the conversation
	}
	s.proxy.config.Log.LogAttrs(context.Background(), level, "stalled: bytes went up and none came down",
		slog.Int("dc", int(s.dc)), slog.String("address", s.leg.Address), slog.String("via", s.leg.Via),
		slog.Any("stage", Stage(s.stage.Load())), slog.Duration("waited", waited.Round(time.Millisecond)))
}
