package splice

// waiterID identifies a waiter of a set: the number of its slot, and how often that was
// used before. IDs are not reused, so a stale epoll event matches nothing. 0 is no ID.
type waiterID uint64

// waiters has a set's waiters by ID, in less memory than a map. The zero value is empty.
type waiters struct {
	chunks []*[slotsPerChunk]slot
	used   uint32 // slots that are or were in use
	free   uint32 // one of these that is free, plus one; 0: none
}

// slotsPerChunk is how many slots are allocated at a time.
const slotsPerChunk = 128

// slot is the place of one waiter.
type slot struct {
	waiter waiter // nil if the slot is free
	uses   uint32 // until now; part of the ID, never 0 there
	free   uint32 // the next free slot, plus one
}

func (w *waiters) at(index uint32) *slot {
	return &w.chunks[index/slotsPerChunk][index%slotsPerChunk]
}

func (w *waiters) add(added waiter) waiterID {
	index := w.used
	if w.free > 0 {
		index = w.free - 1
		w.free = w.at(index).free
	} else {
		if index%slotsPerChunk == 0 {
			w.chunks = append(w.chunks, new([slotsPerChunk]slot))
		}
		w.used++
	}
	s := w.at(index)
	s.waiter = added
	if s.uses++; s.uses == 0 {
		s.uses = 1
	}
	return waiterID(s.uses)<<32 | waiterID(index)
}

// get returns the waiter with that ID, nil if it was removed.
func (w *waiters) get(id waiterID) waiter {
	if index := uint32(id); index < w.used {
		if s := w.at(index); s.uses == uint32(id>>32) {
			return s.waiter
		}
	}
	return nil
}

func (w *waiters) remove(id waiterID) {
	if w.get(id) == nil {
		return
	}
	index := uint32(id)
	s := w.at(index)
	s.waiter, s.free, w.free = nil, w.free, index+1
}
