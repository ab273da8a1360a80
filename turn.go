package mtwire

import (
	"context"
	"slices"
	"sync"
)

// turn is a lock whose wait a context can end: those who wait for a call that
// is blocked must not be blocked with it. It costs little while nobody waits.
type turn struct {
	mu    sync.Mutex
	taken bool
	queue []chan struct{} // who waits, the first in front
}

// take waits for the turn, and must be followed by give unless it fails.
func (t *turn) take(ctx context.Context) error {
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	t.queue = append(t.queue, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.queue, mine)
	if i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // it came at the same moment
		t.give()
	}
	return ctx.Err()
}

// give ends the turn, and hands it to who waits the longest.
func (t *turn) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.taken = false
		return
	}
	close(t.queue[0])
	t.queue = slices.Delete(t.queue, 0, 1)
}
