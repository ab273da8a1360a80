package proxy

import "sync"

// replayGeneration is how many handshakes one generation remembers. Two are
// kept, so that an id is known for at least this many others: 3 MiB in all.
const replayGeneration = 1 << 16

// replayMemory remembers handshakes, so that a recorded one is not answered.
// It is asked only about those that a secret matches: strangers cannot fill
// it. Its zero value is empty.
type replayMemory struct {
	mu       sync.Mutex
	young    map[[16]byte]struct{}
	old      map[[16]byte]struct{}
	capacity int // 0 means replayGeneration
}

// seen says whether it knows id, and remembers it.
func (m *replayMemory) seen(id [16]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.young[id]; ok {
		return true
	}
	if _, ok := m.old[id]; ok {
		return true
	}
	capacity := m.capacity
	if capacity == 0 {
		capacity = replayGeneration
	}
	if len(m.young) >= capacity {
		m.old, m.young = m.young, nil
	}
	if m.young == nil {
		m.young = make(map[[16]byte]struct{})
	}
	m.young[id] = struct{}{}
	return false
}
