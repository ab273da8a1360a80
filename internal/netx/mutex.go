package netx

import (
	"context"
	"slices"
	"sync"
)

// Mutex is a FIFO mutex whose Lock also returns when a context ends, for callers that
// wait behind a blocked call. Uncontended, it does not allocate. The zero value is
// unlocked.
type Mutex struct {
	mu     sync.Mutex
	locked bool
	queue  []chan struct{} // waiting callers, the first in front
}

// Lock locks m and must be followed by Unlock, unless it returns ctx's error.
func (m *Mutex) Lock(ctx context.Context) error {
	m.mu.Lock()
	if !m.locked {
		m.locked = true
		m.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	m.queue = append(m.queue, mine)
	m.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	m.mu.Lock()
	i := slices.Index(m.queue, mine)
	if i >= 0 {
		m.queue = slices.Delete(m.queue, i, i+1)
	}
	m.mu.Unlock()
	if i < 0 { // the lock was handed over at the same moment
		m.Unlock()
	}
	return ctx.Err()
}

// TryLock locks m and reports true, unless m is locked.
func (m *Mutex) TryLock() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return false
	}
	m.locked = true
	return true
}

// Unlock unlocks m, or hands it to the caller that has waited longest.
func (m *Mutex) Unlock() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		m.locked = false
		return
	}
	close(m.queue[0])
	m.queue = slices.Delete(m.queue, 0, 1)
}
