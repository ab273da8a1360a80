package obfuscation

import (
	"testing"

	"github.com/mtwire/mtwire/frame"
)

// BenchmarkConnWrite64KiB and BenchmarkCTR64KiB are to be compared: what a
// packet costs beyond its cipher.
func BenchmarkConnWrite64KiB(b *testing.B) {
	c, err := Client(&loop{}, &ClientConfig{Protocol: frame.Intermediate})
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 64<<10)
	head := make([]byte, 4)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.WritePieces(head, p, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConnRead64KiB(b *testing.B) {
	c, err := Client(&loop{}, &ClientConfig{Protocol: frame.Intermediate})
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCTR64KiB(b *testing.B) {
	var k KeyStream
	s := k.StreamAt(0)
	src, dst := make([]byte, 64<<10), make([]byte, 64<<10)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		s.XORKeyStream(dst, src)
	}
}

// BenchmarkMatch10000Keys measures an unauthenticated client: an init payload that
// matches none of 10,000 keys.
func BenchmarkMatch10000Keys(b *testing.B) {
	keys, payload := manyKeys(10000), [InitLength]byte(random())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Match(&payload, keys); err == nil {
			b.Fatal("matched")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(keys)), "ns/key")
}
