package multibuffer

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

// engine is a way to compute.
type engine uint8

const (
	plain  engine = iota
	avx2          // and the AES instructions, which came before it
	avx512        // its foundation; nothing beyond
)

// best is what the processor allows; it never changes.
var best = fastest()

// fastest prefers AVX-512 to all, and any lanes to the standard library. On
// processors that have instructions for SHA-256 but no AVX-512 the latter two
// are about as fast as each other.
func fastest() engine {
	switch {
	case !cpu.X86.HasAVX2 || !cpu.X86.HasAES:
		return plain
	case cpu.X86.HasAVX512F:
		return avx512
	}
	return avx2
}

// fewKeys is how many keys the standard library has done before 16 lanes have,
// all things counted.
const fewKeys = 2

func (e engine) hmac(g *Group, m *Message, sums *Sums) {
	sums.n = g.n
	if e == plain || g.n <= fewKeys {
		plainHMAC(g, m, sums)
		return
	}
	m.expand()
	state := &sums.words
	e.startHMAC(g, innerPad, state)
	e.shared(state, m.schedule)

	// What comes out goes in again, as half a block.
	var block [16]row
	copy(block[:], state[:])
	endBlock(&block, len(state), sha256.BlockSize+sha256.Size)
	e.startHMAC(g, outerPad, state)
	e.own(state, &block)
}

// startHMAC sets state to what the key's own block makes of it.
func (e engine) startHMAC(g *Group, pad uint32, state *[8]row) {
	pad *= 0x01010101
	var words [16]uint32
	for i := range words {
		words[i] = pad
	}
	var block [16]row
	spread(block[:], words[:])
	for i := range g.words {
		for k, word := range &g.words[i] {
			block[i][k] = word ^ pad
		}
	}
	spread(state[:], initial[:])
	e.own(state, &block)
}

func (e engine) digest(g *Group, prefix *[32]byte, sums *Sums) {
	sums.n = g.n
	if e == plain || g.n <= fewKeys {
		plainDigest(g, prefix, sums)
		return
	}
	var words [len(prefix) / 4]uint32
	for i := range words {
		words[i] = binary.BigEndian.Uint32(prefix[4*i:])
	}
	var block [16]row
	spread(block[:], words[:])
	n := len(words) + copy(block[len(words):], g.words[:])
	endBlock(&block, n, 4*n)
	spread(sums.words[:], initial[:])
	e.own(&sums.words, &block)
}

// endBlock pads a block that is full up to row n: there a message of so many
// bytes ends.
func endBlock(block *[16]row, n, length int) {
	var words [len(block)]uint32
	words[n] = 1 << 31
	words[15] = uint32(length) * 8
	spread(block[n:], words[n:])
}

// spread fills rows with words: each row has one word in all its places.
func spread(rows []row, words []uint32) {
	spreadAVX2(&rows[0], &words[0], len(words))
}

func (e engine) shared(state *[8]row, schedule [][64]uint32) {
	if e == avx512 {
		sharedAVX512(state, &schedule[0], len(schedule))
	} else {
		sharedAVX2(state, &schedule[0], len(schedule))
	}
}

func (e engine) own(state *[8]row, block *[16]row) {
	if e == avx512 {
		ownAVX512(state, block)
	} else {
		ownAVX2(state, block)
	}
}

func (e engine) encryptAES(out [][16]byte, keys [][32]byte, block *[16]byte) {
	switch {
	case e == plain:
		plainAES(out, keys, block)
	case len(keys) > 0:
		encryptAES(&out[0], &keys[0], len(keys), block)
	}
}

// sharedAVX512 takes state through blocks that are the same for all keys.
//
//go:noescape
func sharedAVX512(state *[8]row, schedule *[64]uint32, blocks int)

// ownAVX512 takes state through one block of each key's own.
//
//go:noescape
func ownAVX512(state *[8]row, block *[16]row)

// sharedAVX2 is sharedAVX512.
//
//go:noescape
func sharedAVX2(state *[8]row, schedule *[64]uint32, blocks int)

// ownAVX2 is ownAVX512, but overwrites block.
//
//go:noescape
func ownAVX2(state *[8]row, block *[16]row)

// spreadAVX2 fills n rows, at least one.
//
//go:noescape
func spreadAVX2(rows *row, words *uint32, n int)

// encryptAES encrypts block under n keys, at least one, into out.
//
//go:noescape
func encryptAES(out *[16]byte, keys *[32]byte, n int, block *[16]byte)
