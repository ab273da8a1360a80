// Package recent provides a bounded map of recent keys: a cache in two generations,
// without a list or a timer. When the young generation is full, it becomes the old
// one, and the keys of the previous old one are dropped. A key is therefore
// remembered for at least as many other keys as one generation has.
package recent

import "iter"

// Map remembers values by key. It is not safe for concurrent use. Capacity must
// be set before the first Put.
type Map[K comparable, V any] struct {
	// Capacity is how many keys one generation has. There are two, so the map
	// has up to twice as many.
	Capacity int

	young, old map[K]V
}

// Get returns the value of key, and reports whether it is remembered.
func (m *Map[K, V]) Get(key K) (V, bool) {
	if v, ok := m.young[key]; ok {
		return v, true
	}
	v, ok := m.old[key]
	return v, ok
}

// Put remembers value for key, as the most recent one.
func (m *Map[K, V]) Put(key K, value V) {
	if _, ok := m.young[key]; !ok && len(m.young) >= m.Capacity {
		m.old, m.young = m.young, nil
	}
	if m.young == nil {
		m.young = make(map[K]V)
	}
	m.young[key] = value
}

// Len returns how many keys are in the two generations; a key that is in both
// counts twice.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }

// All returns the keys with their values, those of the old generation first. A key that is
// in both is there twice, the present value last. The map must not change meanwhile.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, generation := range [...]map[K]V{m.old, m.young} {
			for key, value := range generation {
				if !yield(key, value) {
					return
				}
			}
		}
	}
}
