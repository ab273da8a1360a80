package obfuscation

import (
	"bytes"
	"testing"
)

// A Cursor has the key stream's bytes from any position, before and after a Rest.
func TestCursorContinuesAfterARest(t *testing.T) {
	var k KeyStream
	for i := range k {
		k[i] = byte(7 * i)
	}
	k[keyLength+15], k[keyLength+14] = 0xff, 0xff // the counter soon carries
	whole := make([]byte, 5000)
	k.StreamAt(0).XORKeyStream(whole, whole)
	for _, start := range []uint64{0, 1, 15, 16, 17, 64, 1000} {
		got := make([]byte, len(whole))
		c := k.Cursor(start)
		for n, rest := 1, got[start:]; len(rest) > 0; n = n*3%997 + 1 {
			n = min(n, len(rest))
			c.XORKeyStream(rest[:n], rest[:n])
			rest = rest[n:]
			if n%2 == 0 {
				c.Rest()
			}
		}
		if !bytes.Equal(got[start:], whole[start:]) {
			t.Errorf("from %d: other bytes", start)
		}
	}
}

// Reencrypt decrypts with one Cursor and encrypts with the other, from any positions
// and in pieces of any size, into the same or another slice.
func TestReencryptIsBothCursors(t *testing.T) {
	var first, second KeyStream
	for i := range first {
		first[i], second[i] = byte(5*i), byte(11*i+1)
	}
	clear := make([]byte, 40000)
	for i := range clear {
		clear[i] = byte(i * i >> 3)
	}
	for _, starts := range [][2]uint64{{0, 0}, {64, 64}, {64, 0}, {3, 64}} {
		want := bytes.Clone(clear)
		first.StreamAt(starts[0]).XORKeyStream(want, want)
		second.StreamAt(starts[1]).XORKeyStream(want, want)
		from, to := first.Cursor(starts[0]), second.Cursor(starts[1])
		got, done := bytes.Clone(clear), 0
		for n := 1; done < len(got); n = n*5%9973 + 1 {
			n = min(n, len(got)-done)
			src := got[done : done+n]
			if n%2 == 0 {
				src = clear[done : done+n]
			}
			Reencrypt(got[done:done+n], src, &from, &to)
			if done += n; n%3 == 0 {
				from.Rest()
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("from %d: other bytes", starts)
		}
	}
}

// A Cursor that is encoded and decoded goes on where it was.
func TestCursorGoesOnFromItsEncodedPosition(t *testing.T) {
	var k KeyStream
	for i := range k {
		k[i] = byte(3 * i)
	}
	whole, got := make([]byte, 1000), make([]byte, 1000)
	k.StreamAt(0).XORKeyStream(whole, whole)
	c := k.Cursor(0)
	for n, rest := 1, got; len(rest) > 0; n = n*3%97 + 1 {
		n = min(n, len(rest))
		c.XORKeyStream(rest[:n], rest[:n])
		rest = rest[n:]
		state, err := c.AppendBinary(nil)
		if err != nil || len(state) != CursorLength {
			t.Fatal(len(state), err)
		}
		var next Cursor
		if err := next.UnmarshalBinary(state); err != nil {
			t.Fatal(err)
		}
		c = next
	}
	if !bytes.Equal(got, whole) {
		t.Error("other bytes")
	}
	if err := c.UnmarshalBinary(make([]byte, CursorLength-1)); err == nil {
		t.Error("a short state was decoded")
	}
}
