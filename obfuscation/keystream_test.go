package obfuscation

import (
	"bytes"
	"testing"
)

// A cursor gives the same bytes wherever it starts and however often it rests.
func TestCursorGoesOnAfterARest(t *testing.T) {
	var k KeyStream
	for i := range k {
		k[i] = byte(7 * i)
	}
	k[keyLength+15], k[keyLength+14] = 0xff, 0xff // a carry is near
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
