package splice

import "testing"

// An ID finds its waiter until that is removed, and nothing afterwards, whatever has
// been added since.
func TestAnIDFindsNothingAfterItsWaiterWasRemoved(t *testing.T) {
	var w waiters
	present := make(map[waiterID]*awaiting)
	seen := make(map[waiterID]bool)
	add := func() {
		waiter := &awaiting{}
		id := w.add(waiter)
		if id == 0 || seen[id] {
			t.Fatalf("ID %x is none, or was used before", id)
		}
		seen[id], present[id] = true, waiter
	}
	for range 3*slotsPerChunk + 1 {
		add()
	}
	for round := range 5 {
		i := 0
		for id := range present {
			if i++; i%(round+2) == 0 {
				w.remove(id)
				w.remove(id)
				delete(present, id)
			}
		}
		for range slotsPerChunk {
			add()
		}
		for id := range seen {
			switch got, want := w.get(id), present[id]; {
			case want == nil && got != nil:
				t.Fatalf("ID %x finds a waiter after it was removed", id)
			case want != nil && got != want:
				t.Fatalf("ID %x finds another waiter", id)
			}
		}
	}
	if n := len(w.chunks); n > 8 {
		t.Errorf("%d chunks for at most %d waiters", n, 8*slotsPerChunk)
	}
	for _, id := range []waiterID{0, 1, 1 << 32, 99<<32 | 5, 1<<32 | 1<<31} {
		if !seen[id] && w.get(id) != nil {
			t.Errorf("ID %x finds a waiter", id)
		}
	}
}

// A freed slot's memory is used again, so connections that come and go take no more.
func TestWaitersThatComeAndGoTakeNoMemory(t *testing.T) {
	var w waiters
	var waiter awaiting
	w.remove(w.add(&waiter))
	if n := testing.AllocsPerRun(1000, func() { w.remove(w.add(&waiter)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A crowd that has gone leaves no memory, also if waiters that came before it or as its
// last ones stay a while: those that come later fill the first chunks. IDs of the crowd
// find nothing in chunks that were allocated again.
func TestWaitersThatHaveGoneLeaveNoMemory(t *testing.T) {
	const crowd = 100 * slotsPerChunk
	var w waiters
	early := w.add(&awaiting{})
	var ids []waiterID
	for range crowd {
		ids = append(ids, w.add(&awaiting{}))
	}
	late := w.add(&awaiting{})
	for _, id := range ids {
		w.remove(id)
	}
	for range slotsPerChunk {
		if index := uint32(w.add(&awaiting{})); index >= 2*slotsPerChunk {
			t.Fatalf("slot %d is used before the first ones", index)
		}
	}
	if w.get(late) == nil {
		t.Error("the last waiter is lost")
	}
	w.remove(late)
	if n := len(w.chunks); n > 3 {
		t.Errorf("%d chunks for %d waiters", n, slotsPerChunk+1)
	}
	for range crowd {
		w.add(&awaiting{})
	}
	for _, id := range append(ids, late) {
		if w.get(id) != nil {
			t.Fatalf("ID %x finds a waiter after it was removed", id)
		}
	}
	if w.get(early) == nil {
		t.Error("the first waiter is lost")
	}
}
