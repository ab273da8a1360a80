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
