package splice

// waiterID identifies a waiter of a set: the number of its slot, and which of the set's
// waiters it is. IDs are not reused, so a stale epoll event matches nothing. 0 is no ID.
type waiterID uint64

// waiters has a set's waiters by ID, in less memory than a map. The zero value is empty.
// The first chunks are filled first, and free ones at the end are dropped but for one,
// so a crowd that has gone leaves its memory as soon as no waiter is left in the last
// chunks; waiters do not move.
type waiters struct {
	chunks []*[slotsPerChunk]slot
	states []chunkState // of the chunks
	open   int          // no chunk before this one has a free slot
	last   uint32       // number of the last waiter; part of the ID, never 0 there
}

// slotsPerChunk is how many slots are allocated at a time.
const slotsPerChunk = 128

// chunkState is what is in use of a chunk.
type chunkState struct {
	used uint8 // slots
	free uint8 // a free slot, plus one; 0: none
}

// slot is the place of one waiter.
type slot struct {
	waiter waiter // nil if the slot is free
	number uint32 // of the waiter
	free   uint8  // the next free slot of the chunk, plus one; 0: none
}

// at returns the slot with that number, nil if there is none.
func (w *waiters) at(index uint32) *slot {
	if chunk := index / slotsPerChunk; int64(chunk) < int64(len(w.chunks)) {
		return &w.chunks[chunk][index%slotsPerChunk]
	}
	return nil
}

func (w *waiters) add(added waiter) waiterID {
	for w.open < len(w.chunks) && w.states[w.open].free == 0 {
		w.open++
	}
	if w.open == len(w.chunks) {
		w.grow()
	}
	state := &w.states[w.open]
	index := state.free - 1
	s := &w.chunks[w.open][index]
	state.used, state.free = state.used+1, s.free
	if w.last++; w.last == 0 {
		w.last = 1
	}
	s.waiter, s.number = added, w.last
	return waiterID(s.number)<<32 | waiterID(w.open*slotsPerChunk+int(index))
}

// grow adds a chunk.
func (w *waiters) grow() {
	chunk := new([slotsPerChunk]slot)
	for i := range slotsPerChunk - 1 {
		chunk[i].free = uint8(i + 2)
	}
	w.chunks, w.states = append(w.chunks, chunk), append(w.states, chunkState{free: 1})
}

// get returns the waiter with that ID, nil if it was removed.
func (w *waiters) get(id waiterID) waiter {
	if s := w.at(uint32(id)); s != nil && s.number == uint32(id>>32) {
		return s.waiter
	}
	return nil
}

func (w *waiters) remove(id waiterID) {
	if w.get(id) == nil {
		return
	}
	index := uint32(id)
	chunk := int(index / slotsPerChunk)
	s, state := w.at(index), &w.states[chunk]
	s.waiter, s.free = nil, state.free
	state.used, state.free = state.used-1, uint8(index%slotsPerChunk)+1
	w.open = min(w.open, chunk)
	w.shrink()
}

// shrink drops the last chunk while it and the one before it are free: one stays, so
// that a waiter that comes and goes does not allocate.
func (w *waiters) shrink() {
	for n := len(w.chunks); n > 1 && w.states[n-1].used == 0 && w.states[n-2].used == 0; n-- {
		w.chunks[n-1] = nil
		w.chunks, w.states = w.chunks[:n-1], w.states[:n-1]
		w.open = min(w.open, n-2)
	}
}
