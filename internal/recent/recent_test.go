package recent

import "testing"

// A key is remembered for at least Capacity others, and the memory never has
// more than two generations.
func TestKeysAreRememberedForAGeneration(t *testing.T) {
	const capacity = 10
	m := Map[int, int]{Capacity: capacity}
	for i := range 10 * capacity {
		m.Put(i, -i)
		for _, key := range []int{i, i - capacity} {
			if v, ok := m.Get(key); key >= 0 && (!ok || v != -key) {
				t.Fatalf("after %d: %d is %d, %v", i, key, v, ok)
			}
		}
		if len(m.young) > capacity || len(m.old) > capacity {
			t.Fatalf("%d and %d keys", len(m.young), len(m.old))
		}
	}
	if _, ok := m.Get(10*capacity - 2*capacity - 1); ok {
		t.Error("a key outlived two generations")
	}
}

// A key that is put again is young again, and takes no second place in its
// generation.
func TestPutRenewsAKey(t *testing.T) {
	m := Map[string, int]{Capacity: 2}
	m.Put("kept", 1)
	for _, other := range []string{"a", "b", "c", "d"} {
		m.Put(other, 0)
		m.Put("kept", 2)
	}
	if v, ok := m.Get("kept"); !ok || v != 2 {
		t.Errorf("%d, %v", v, ok)
	}
}
