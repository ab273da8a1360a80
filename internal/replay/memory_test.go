package replay

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// idOf returns the id with number n: an id that a client could choose, with hardly
// a bit set.
func idOf(n int) (id [16]byte) {
	binary.LittleEndian.PutUint64(id[:], uint64(n))
	return id
}

// Random operations at random times: an id is remembered for the window, whatever
// else is added, and forgotten at most two slices later.
func TestIDsAreRememberedForTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		m := New(Options{})
		latest := DefaultWindow + 2*DefaultWindow/slicesPerWindow
		added := make(map[int]time.Time)
		for step := range 20000 {
			n := random.IntN(2000)
			age, known := time.Since(added[n]), !added[n].IsZero()
			seen := m.Seen(idOf(n))
			switch {
			case seen && !known:
				t.Fatalf("step %d: %d was never added", step, n)
			case seen && age > latest:
				t.Fatalf("step %d: %d is remembered after %v", step, n, age)
			case !seen && known && age < DefaultWindow:
				t.Fatalf("step %d: %d is forgotten after %v", step, n, age)
			case !seen:
				added[n] = time.Now()
			}
			if len(m.slices) > slicesPerWindow+2 {
				t.Fatalf("step %d: %d slices", step, len(m.slices))
			}
			time.Sleep(time.Duration(random.ExpFloat64() * float64(2*time.Minute)))
			if random.IntN(1000) == 0 {
				time.Sleep(time.Duration(random.Int64N(int64(2 * latest))))
			}
		}
	})
}

// The first moment at which an id is forgotten is the end of the window.
func TestAnIDIsForgottenAfterTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{Window: time.Hour})
		m.Seen(idOf(1))
		time.Sleep(time.Hour - time.Nanosecond)
		if !m.Seen(idOf(1)) {
			t.Error("forgotten before the window has passed")
		}
		time.Sleep(time.Nanosecond)
		if m.Seen(idOf(1)) {
			t.Error("remembered after the window, or for longer because it was seen again")
		}
	})
}

// With more ids than Entries the oldest make room, a sixteenth at a time, and Full
// is called once in a window.
func TestTheOldestIDsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const entries = 1600
		var reaches []time.Duration
		m := New(Options{Entries: entries, Full: func(reach time.Duration) { reaches = append(reaches, reach) }})
		for n := range 5 * entries {
			if m.Seen(idOf(n)) {
				t.Fatalf("%d is new", n)
			}
			if m.entries > entries {
				t.Fatalf("%d entries", m.entries)
			}
			time.Sleep(time.Second)
			if n%7 == 0 {
				for _, before := range []int{0, 1, entries/2 + 1, entries*15/16 - 1} {
					if n >= before && !m.Seen(idOf(n-before)) {
						t.Fatalf("%d is forgotten after %d others", n-before, before)
					}
				}
			}
		}
		if m.Seen(idOf(5*entries - entries - 1)) {
			t.Error("an id is remembered after as many others as there may be")
		}
		if want := entries * 15 / 16 * time.Second; len(reaches) != 1 || reaches[0] != want {
			t.Errorf("Full was called with %v, want once with %v", reaches, want)
		}
		time.Sleep(DefaultWindow)
		for n := range 2 * entries {
			m.Seen(idOf(-n))
		}
		if len(reaches) != 2 {
			t.Errorf("Full was called %d times in two windows", len(reaches))
		}
	})
}

// The bounds hold for any number of entries, also for fewer than there are slices.
func TestEveryNumberOfEntriesIsABound(t *testing.T) {
	for entries := 1; entries < 100; entries++ {
		m := New(Options{Entries: entries})
		for n := range 3 * entries {
			if m.Seen(idOf(n)) {
				t.Fatalf("%d entries: %d is new", entries, n)
			}
			if !m.Seen(idOf(n)) {
				t.Fatalf("%d entries: %d is forgotten at once", entries, n)
			}
			if m.entries > entries {
				t.Fatalf("%d entries: there are %d", entries, m.entries)
			}
		}
	}
}

// An entry takes 16 bytes at most, however many there are.
func TestAnEntryTakesSixteenBytes(t *testing.T) {
	m := New(Options{})
	for n := range DefaultEntries + DefaultEntries/8 {
		m.load(idOf(n), m.elapsed())
		if m.entries < 10000 || n%101 != 0 {
			continue
		}
		slots := 0
		for _, s := range m.slices {
			for _, table := range s.tables {
				slots += len(table.slots)
			}
		}
		bytes := slots*8 + len(m.slices)*int(unsafe.Sizeof(slice{}))
		// The tables of the newest slice may be almost empty.
		if bytes > 16*m.entries+8*minSlots*tablesPerSet {
			t.Fatalf("%d entries take %d bytes", m.entries, bytes)
		}
	}
	if m.entries < DefaultEntries*15/16 {
		t.Errorf("only %d entries", m.entries)
	}
}

// Fingerprints depend on the process, so a client cannot choose ids for them.
func TestFingerprintsHaveAKey(t *testing.T) {
	a, b := New(Options{}), New(Options{})
	if f := a.fingerprint(idOf(1)); f == b.fingerprint(idOf(1)) || f == a.fingerprint(idOf(2)) || f != a.fingerprint(idOf(1)) {
		t.Errorf("%x, %x, %x", f, b.fingerprint(idOf(1)), a.fingerprint(idOf(2)))
	}
}

// Fingerprints that crowd one place of a table, and its end, are found.
func TestATableFindsCrowdedFingerprints(t *testing.T) {
	for _, first := range []uint64{1, 1 << 63, ^uint64(0) - 999} {
		var table table
		for round := range 2 {
			for i := range uint64(1000) {
				if added := table.add(first + i); added != (round == 0) {
					t.Fatalf("%x is added: %v", first+i, added)
				}
			}
		}
		for i := range uint64(1000) {
			if _, found := table.find(first + i); !found {
				t.Fatalf("%x is missing", first+i)
			}
		}
		if _, found := table.find(first ^ 1<<40); table.n != 1000 || found {
			t.Errorf("%d, or one too many", table.n)
		}
	}
}

// Of several goroutines with the same id exactly one is the first.
func TestOneOfManyIsTheFirst(t *testing.T) {
	m := New(Options{})
	var firsts [200]int
	var mu sync.Mutex
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for n := range firsts {
				if !m.Seen(idOf(n)) {
					mu.Lock()
					firsts[n]++
					mu.Unlock()
				}
			}
		})
	}
	running.Wait()
	for n, first := range firsts {
		if first != 1 {
			t.Errorf("%d was new %d times", n, first)
		}
	}
}

// Seen allocates nothing but the tables.
func TestSeenAllocatesNothing(t *testing.T) {
	m := New(Options{})
	for n := range 100 {
		m.Seen(idOf(n))
	}
	if n := testing.AllocsPerRun(1000, func() { m.Seen(idOf(50)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// filled returns a memory with a number of ids that came in equal intervals over
// the whole window, and the number of the next.
func filled(entries int) (m *Memory, next int) {
	m = New(Options{})
	start := m.elapsed()
	for n := range entries {
		m.load(idOf(n), start-m.options.Window*15/16+time.Duration(n)*m.options.Window/time.Duration(entries)*15/16)
	}
	return m, entries
}

// BenchmarkSeen is a new id in a full memory, with as many slices as there can be.
// bytes/entry is what the heap has grown by.
func BenchmarkSeen(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m, next := filled(DefaultEntries)
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes, slices := float64(after.HeapAlloc-before.HeapAlloc)/float64(m.entries), len(m.slices)
	for b.Loop() {
		m.Seen(idOf(next))
		next++
	}
	b.ReportMetric(bytes, "bytes/entry")
	b.ReportMetric(float64(slices), "slices")
}
