package replay

import "math/bits"

const (
	// tablesPerSet divides a set, so that a table which grows has few fingerprints
	// to copy: 2048 with the default number of entries, which takes some
	// microseconds. tableShift leaves the bits of a fingerprint that select its
	// table.
	tablesPerSet = 1 << 6
	tableShift   = 64 - 6
	minSlots     = 8
	// A table with more than 4/5 of its slots in use grows by half, so it has 10
	// to 15 bytes for each fingerprint, which the allocator rounds up by a few
	// percent. At 4/5, 13 slots are read on average for a fingerprint that is
	// absent, which is two cache lines.
	maxLoadNumerator, maxLoadDenominator = 4, 5
)

// set is a set of fingerprints that are uniformly random and not 0. Nothing is ever
// deleted from it. f is in tables[f>>tableShift].
type set struct {
	tables [tablesPerSet]table
	n      int // fingerprints
}

// table is a hash table: open addressing with linear probing. The first slot for a
// fingerprint is its lower bits scaled to the number of slots, which may be any.
type table struct {
	slots []uint64 // 0 means empty
	n     int      // slots in use
}

// touch reads the first slot for f, and returns any bits that depend on it.
func (t *table) touch(f uint64) uint64 {
	i, _ := bits.Mul64(f*tablesPerSet, uint64(len(t.slots)))
	if len(t.slots) == 0 {
		return 0
	}
	return t.slots[i]
}

// find returns the slot of f, or the empty one where it belongs. A table without
// slots has none; every other has an empty one.
func (t *table) find(f uint64) (i int, found bool) {
	if len(t.slots) == 0 {
		return -1, false
	}
	first, _ := bits.Mul64(f*tablesPerSet, uint64(len(t.slots)))
	for i = int(first); t.slots[i] != 0; {
		if t.slots[i] == f {
			return i, true
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	return i, false
}

// add adds f, and reports whether it was absent.
func (t *table) add(f uint64) bool {
	if (t.n+1)*maxLoadDenominator > len(t.slots)*maxLoadNumerator {
		t.grow()
	}
	i, found := t.find(f)
	if !found {
		t.slots[i] = f
		t.n++
	}
	return !found
}

// grow makes the table larger. The slots keep their order, so both arrays are
// accessed from front to back.
func (t *table) grow() {
	old := t.slots
	t.slots = make([]uint64, max(minSlots, len(old)+len(old)/2))
	for _, f := range old {
		if f != 0 {
			i, _ := t.find(f)
			t.slots[i] = f
		}
	}
}
