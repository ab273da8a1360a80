// Package bench measures mtwire beside gotd, and beside the bare operations
// that neither can do without: the same payloads, in the same run, in turns.
//
// The cases are ordinary benchmark functions. `go test -bench .` runs them one
// by one; the program in compare runs the two sides of each in alternation
// and prints ratios.
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

// Case is one thing done in two ways.
type Case struct {
	Group string // what is compared
	Name  string // framing and size, or the like
	Bytes int    // payload bytes that one operation moves

	// Ours and Other are the two ways. Versus names the other one.
	Ours, Other func(b *testing.B)
	Versus      string

	// Target is the least ratio of Other's time to Ours that the project
	// promises. 0 means that nothing was promised, and the row is for
	// information.
	Target float64
}

// Cases returns all comparisons of time.
func Cases() []Case {
	var all []Case
	all = append(all, codecCases()...)
	all = append(all, socketCases()...)
	all = append(all, obfuscatedCases()...)
	return all
}

// Sizes of payloads: encrypted messages, 24 bytes and whole cipher blocks,
// next to 64 B, 1 KiB and 64 KiB. 72 bytes is the least that exists.
var sizes = []struct {
	name  string
	bytes int
}{
	{"64B", 24 + 48},
	{"1KiB", 24 + 1008},
	{"64KiB", 24 + 64<<10},
}

// message makes a payload. The first word is not zero, so that it is an
// encrypted message to whoever looks.
func message(n int, seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	b[0] |= 1
	return b
}

// sink keeps what touch found, so that no compiler drops the work.
var sink uint32

// touch is what every receiver here does with a payload.
func touch(payload []byte) uint32 {
	return binary.LittleEndian.Uint32(payload) + binary.LittleEndian.Uint32(payload[len(payload)-4:])
}
