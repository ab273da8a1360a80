// Package bench has benchmarks that compare mtwire with gotd, and with the bare
// operations that both need: the same payloads, in the same run, in turns.
//
// The cases are ordinary benchmark functions. `go test -bench .` runs them one after
// the other. The program in compare runs the two sides of each in turns and prints
// ratios.
package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// Sides of a comparison.
const (
	Mtwire = "mtwire"
	Gotd   = "gotd"
)

// Case is a comparison of two benchmarks.
type Case struct {
	Group string // operation that is compared
	Name  string // framing and size
	Bytes int    // payload bytes of one operation

	// Ours is mtwire's benchmark, Other that of the side named by Versus.
	Ours, Other func(b *testing.B)
	Versus      string

	// Target is the least ratio of Other's time to Ours that mtwire must reach. 0
	// is no target: the row is for information.
	Target float64
}

// Cases returns all comparisons of speed.
func Cases() []Case {
	var all []Case
	all = append(all, codecCases()...)
	all = append(all, socketCases()...)
	all = append(all, obfuscatedCases()...)
	return all
}

// sizes are the sizes of payloads: encrypted messages, 24 bytes and whole cipher
// blocks, near 64 B, 1 KiB and 64 KiB. The shortest encrypted message has 72 bytes.
var sizes = []struct {
	name  string
	bytes int
}{
	{"64B", 24 + 48},
	{"1KiB", 24 + 1008},
	{"64KiB", 24 + 64<<10},
}

// message returns a pseudorandom payload of n bytes. Its first word is not zero, as
// that of an encrypted message.
func message(n int, seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	b[0] |= 1
	return b
}

// sink keeps the results of touch, so that the compiler does not drop the work.
var sink uint32

// touch reads the first and last word of a payload. Every receiver calls it.
func touch(payload []byte) uint32 {
	return binary.LittleEndian.Uint32(payload) + binary.LittleEndian.Uint32(payload[len(payload)-4:])
}
