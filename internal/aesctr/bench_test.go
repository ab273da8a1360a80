package aesctr

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"testing"
)

// Two key streams over a read's bytes: as the proxy encrypts the upload anew, one
// stream after the other, and with crypto/cipher in pieces that stay in the
// processor's first cache.
func BenchmarkTwoStreams(b *testing.B) {
	for _, size := range []int{200, 4 << 10, 64 << 10} {
		buf := make([]byte, size)
		run := func(name string, call func()) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					call()
				}
			})
		}
		var first, second Stream
		run("one pass", func() { XORKeyStreams(buf, buf, &first, &second) })
		run("two passes", func() { first.XORKeyStream(buf, buf); second.XORKeyStream(buf, buf) })
		block, err := aes.NewCipher(first.key[:])
		if err != nil {
			b.Fatal(err)
		}
		one, two := cipher.NewCTR(block, first.iv[:]), cipher.NewCTR(block, first.iv[:])
		run("standard library", func() {
			for rest := buf; len(rest) > 0; {
				n := min(len(rest), 16<<10)
				one.XORKeyStream(rest[:n], rest[:n])
				two.XORKeyStream(rest[:n], rest[:n])
				rest = rest[n:]
			}
		})
		run("standard library, new ciphers", func() {
			for range 2 {
				block, _ := aes.NewCipher(first.key[:])
				cipher.NewCTR(block, first.iv[:]).XORKeyStream(buf, buf)
			}
		})
	}
}

// A call for few bytes is the computation of the round keys, and a tile.
func BenchmarkFewBytes(b *testing.B) {
	var s Stream
	buf := make([]byte, 64)
	for b.Loop() {
		s.XORKeyStream(buf, buf)
	}
}
