package proxy

import (
	"sync"

	"github.com/mtwire/mtwire/internal/recent"
)

// replayGeneration is how many handshakes one generation remembers. There are
// two, so that an id is remembered for at least this many others: 3 MiB in all.
const replayGeneration = 1 << 16

// replayMemory remembers handshakes, so that a recorded one is not answered
// again. Only handshakes that a secret matches are put into it, so
// unauthenticated clients cannot fill it.
type replayMemory struct {
	mu  sync.Mutex
	ids recent.Map[[16]byte, struct{}]
}

func newReplayMemory(capacity int) *replayMemory {
	return &replayMemory{ids: recent.Map[[16]byte, struct{}]{Capacity: capacity}}
}

// seen remembers id, and reports whether it was remembered already.
func (m *replayMemory) seen(id [16]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.ids.Get(id); ok {
		return true
	}
	m.ids.Put(id, struct{}{})
	return false
}
