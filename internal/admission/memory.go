package admission

import (
	"net/netip"
	"slices"
	"sync"
)

// Memory bounds the bytes that connections hold for what has not arrived
// completely. At the limit the network that holds most makes room: of the sites
// the heaviest one, of its addresses the heaviest one, and of those connections the
// one that has held something for longest. One network can thus use everything
// while no other needs it, and leaves an equal share to each when others do. Clients
// whose addresses are not known are one network.
//
// All methods may be called concurrently. NewMemory makes it.
type Memory struct {
	limit int64

	mu       sync.Mutex
	used     int64
	holdings map[*Holding]struct{}         // those with bytes
	begun    uint64                        // how many there were until now
	networks [Total]map[netip.Prefix]int64 // addresses and sites; none is empty
}

// NewMemory returns a Memory for limit bytes.
func NewMemory(limit int64) *Memory {
	m := &Memory{limit: limit, holdings: make(map[*Holding]struct{})}
	for scope := range m.networks {
		m.networks[scope] = make(map[netip.Prefix]int64)
	}
	return m
}

// Limit returns the limit in bytes.
func (m *Memory) Limit() int64 { return m.limit }

// Used returns how many bytes are held.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Holding is what one connection holds of a Memory. It begins with nothing.
type Holding struct {
	memory  *Memory
	network [Total]netip.Prefix
	evict   func()

	// Guarded by memory.mu.
	size  int64
	begun uint64 // a number that is higher for younger holdings
	ended bool   // closed or evicted
}

// NewHolding returns a holding of a connection from that address, which is invalid
// if it is not known. evict is called at most once, by the goroutine of another
// connection, when the holding makes room: the connection gives back its bytes, and
// evict must not block.
func (m *Memory) NewHolding(from netip.Addr, evict func()) *Holding {
	h := &Holding{memory: m, evict: evict}
	for scope := range h.network {
		h.network[scope] = Network(Scope(scope), from)
	}
	return h
}

// Resize changes what h holds to size bytes, and evicts others to make room. It
// returns false if h is the one that makes room, or did before, or is closed: h then
// holds nothing and cannot be used any more. After size 0, h is as if new.
func (h *Holding) Resize(size int) bool {
	victims, ok := h.resize(int64(size))
	for _, victim := range victims {
		victim.evict()
	}
	return ok
}

func (h *Holding) resize(size int64) (victims []*Holding, ok bool) {
	m := h.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.ended {
		return nil, false
	}
	m.set(h, size)
	for m.used > m.limit {
		victim := m.heaviest()
		m.set(victim, 0)
		victim.ended = true
		if victim == h {
			return victims, false
		}
		victims = append(victims, victim)
	}
	return victims, true
}

// Close gives back what h holds. Resize returns false afterwards.
func (h *Holding) Close() {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	h.memory.set(h, 0)
	h.ended = true
}

// set changes the size of h. Under mu.
func (m *Memory) set(h *Holding, size int64) {
	switch {
	case size == h.size:
		return
	case h.size == 0:
		m.begun++
		h.begun = m.begun
		m.holdings[h] = struct{}{}
	case size == 0:
		delete(m.holdings, h)
	}
	change := size - h.size
	h.size = size
	m.used += change
	for scope, network := range h.network {
		if m.networks[scope][network] += change; m.networks[scope][network] == 0 {
			delete(m.networks[scope], network)
		}
	}
}

// heaviest returns the oldest holding of the heaviest address of the heaviest site.
// There must be a holding. Under mu.
func (m *Memory) heaviest() (victim *Holding) {
	var most [2]int64 // of the site, and of the address
	for h := range m.holdings {
		its := [2]int64{m.networks[Site][h.network[Site]], m.networks[Address][h.network[Address]]}
		order := slices.Compare(its[:], most[:])
		if order > 0 || order == 0 && h.begun < victim.begun {
			victim, most = h, its
		}
	}
	return victim
}
