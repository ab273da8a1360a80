package fronting

import (
	"bytes"
	"testing"
)

// A hello in records of one byte, which come a byte at a time, costs a look at each byte: a
// look at all of them each time takes seconds of a processor for one connection.
func TestAHelloByteByByteIsLookedAtOnce(t *testing.T) {
	first := []byte{22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 1, 0, 22, 3, 1, 0, 1, 0xff, 22, 3, 1, 0, 1, 0xff}
	first = append(first, bytes.Repeat([]byte{22, 3, 1, 0, 1, 0}, 2700)...)
	var p PartialHello
	for i := 1; i <= len(first); i++ {
		if !p.IsPartial(first[:i]) {
			t.Fatalf("not partial after %d bytes", i)
		}
		if p.message != i/6 || p.record != i/6*6 {
			t.Fatalf("after %d bytes %d of the message, record at %d", i, p.message, p.record)
		}
	}
	if p.looked < len(first)/6 || p.IsPartial(append(first, make([]byte, MaxPartialHello)...)) {
		t.Error("a hello without an end goes on")
	}
	allocs := testing.AllocsPerRun(100, func() { p.IsPartial(first) })
	if allocs > 1 {
		t.Errorf("%v allocations for a look at nothing new", allocs)
	}
}

// Bytes that grow have the answer that they have at once, but for a name that is noticed
// late.
func TestAHelloThatGrowsIsPartialAsItIsAtOnce(t *testing.T) {
	for _, tail := range [][]byte{{23, 3, 3, 0, 1, 0}, {22, 2, 1, 0, 1, 0}, {22, 3, 1, 0, 0}, {22, 3, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
		first := append([]byte{22, 3, 1, 0, 6, 1, 0, 0, 8, 3, 3, 22, 3, 1, 0, 1, 0}, tail...)
		var p PartialHello
		for i := 0; i <= len(first); i++ {
			want := new(PartialHello).IsPartial(first[:i])
			if got := p.IsPartial(first[:i]); i > 0 && got != want {
				t.Errorf("%x: %v, want %v", first[:i], got, want)
			}
			if i > 0 && !want {
				break
			}
		}
	}
}
