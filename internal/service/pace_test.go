package service

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Idle sessions move evenly, and 10,000 of them in less than two seconds: so does a part of
// them. Memory is released in parts as well. A move that is late does not wait.
func TestIdleSessionsMoveEvenly(t *testing.T) {
	const batch = 16
	for _, c := range []struct {
		sessions       int
		most           time.Duration
		fewest, limits int // releases
	}{
		{10, 10 * time.Millisecond, 2, 2},
		{1000, 160 * time.Millisecond, 4, 6},
		{10_000, 1500 * time.Millisecond, releaseParts, releaseParts + 2},
		{100_000, 1500 * time.Millisecond, releaseParts, releaseParts + 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			released := 0
			p := newPace(func() { released++ })
			begun := time.Now()
			for left := c.sessions; left > 0; {
				n := min(batch, left)
				left -= n
				p.moved(t.Context(), n, left)
				if took, share := time.Since(begun), float64(c.sessions-left)/float64(c.sessions); left > 0 && took > time.Duration(share*float64(c.most)) {
					t.Fatalf("%d of %d sessions take %v", c.sessions-left, c.sessions, took)
				}
			}
			if took := time.Since(begun); took < c.most*3/4 && c.sessions > 10 {
				t.Errorf("%d sessions move in a burst of %v", c.sessions, took)
			}
			if released < c.fewest || released > c.limits {
				t.Errorf("memory is released %d times for %d sessions", released, c.sessions)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPace(func() {})
		p.moved(t.Context(), batch, 10_000)
		time.Sleep(time.Second)
		late := time.Now()
		p.moved(t.Context(), batch, 9_000)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.moved(ctx, 100*batch, 8_000)
		if waited := time.Since(late); waited > 0 {
			t.Errorf("a move that is late, or whose upgrade ends, waits for %v", waited)
		}
	})
}
