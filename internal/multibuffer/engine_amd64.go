package multibuffer

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

// engine selects the instructions that compute.
type engine uint8

const (
	generic engine = iota // the standard library, one key after the other
	avx2                  // AVX2 and the AES instructions, which are older
	avx512                // AVX-512's foundation, F
)

// best is the engine for this processor. It never changes.
var best = fastest()

// fastest prefers AVX-512 to AVX2, and AVX2 to the standard library. On
// processors that have instructions for SHA-256 but no AVX-512, the latter two
// are about equally fast.
func fastest() engine {
	switch {
	case !cpu.X86.HasAVX2 || !cpu.X86.HasAES:
		return generic
	case cpu.X86.HasAVX512F:
		return avx512
	}
	return avx2
}

// fewKeys is the largest number of keys that the standard library computes
// sooner than the vector instructions compute a whole batch.
const fewKeys = 2

func (e engine) hmac(b *Batch, m *Message, digests *Digests) {
	digests.n = b.n
	if e == generic || b.n <= fewKeys {
		genericHMAC(b, m, digests)
		return
	}
	m.expand()
	state := &digests.words
	e.startHMAC(b, innerPad, state)
	e.compressShared(state, m.schedule)

	// The inner digest is half a block of the outer hash.
	var block [16]vector
	copy(block[:], state[:])
	endBlock(&block, len(state), sha256.BlockSize+sha256.Size)
	e.startHMAC(b, outerPad, state)
	e.compressLanes(state, &block)
}

// startHMAC sets state to the state after each key's own first block, the padded
// key.
func (e engine) startHMAC(b *Batch, pad uint32, state *[8]vector) {
	pad *= 0x01010101
	var words [16]uint32
	for i := range words {
		words[i] = pad
	}
	var block [16]vector
	broadcast(block[:], words[:])
	for i := range b.words {
		for k, word := range &b.words[i] {
			block[i][k] = word ^ pad
		}
	}
	broadcast(state[:], initial[:])
	e.compressLanes(state, &block)
}

func (e engine) sha256(b *Batch, prefix *[32]byte, digests *Digests) {
	digests.n = b.n
	if e == generic || b.n <= fewKeys {
		genericSHA256(b, prefix, digests)
		return
	}
	var words [len(prefix) / 4]uint32
	for i := range words {
		words[i] = binary.BigEndian.Uint32(prefix[4*i:])
	}
	var block [16]vector
	broadcast(block[:], words[:])
	n := len(words) + copy(block[len(words):], b.words[:])
	endBlock(&block, n, 4*n)
	broadcast(digests.words[:], initial[:])
	e.compressLanes(&digests.words, &block)
}

// endBlock adds SHA-256's padding to a block of which n vectors are filled. It is
// the last one of a message of length bytes.
func endBlock(block *[16]vector, n, length int) {
	var words [len(block)]uint32
	words[n] = 1 << 31
	words[15] = uint32(length) * 8
	broadcast(block[n:], words[n:])
}

// broadcast sets all lanes of each vector to the word of the same index.
func broadcast(vectors []vector, words []uint32) {
	broadcastAVX2(&vectors[0], &words[0], len(words))
}

func (e engine) compressShared(state *[8]vector, schedule [][64]uint32) {
	if e == avx512 {
		compressSharedAVX512(state, &schedule[0], len(schedule))
	} else {
		compressSharedAVX2(state, &schedule[0], len(schedule))
	}
}

func (e engine) compressLanes(state *[8]vector, block *[16]vector) {
	if e == avx512 {
		compressLanesAVX512(state, block)
	} else {
		compressLanesAVX2(state, block)
	}
}

func (e engine) encryptAES(out [][16]byte, keys [][32]byte, block *[16]byte) {
	switch {
	case e == generic:
		genericAES(out, keys, block)
	case len(keys) > 0:
		encryptAES(&out[0], &keys[0], len(keys), block)
	}
}

// compressSharedAVX512 advances state by blocks that are the same in all lanes.
//
//go:noescape
func compressSharedAVX512(state *[8]vector, schedule *[64]uint32, blocks int)

// compressLanesAVX512 advances state by one block, which differs between lanes.
//
//go:noescape
func compressLanesAVX512(state *[8]vector, block *[16]vector)

// compressSharedAVX2 is compressSharedAVX512 in AVX2.
//
//go:noescape
func compressSharedAVX2(state *[8]vector, schedule *[64]uint32, blocks int)

// compressLanesAVX2 is compressLanesAVX512 in AVX2. It overwrites block.
//
//go:noescape
func compressLanesAVX2(state *[8]vector, block *[16]vector)

// broadcastAVX2 sets n vectors, at least one.
//
//go:noescape
func broadcastAVX2(vectors *vector, words *uint32, n int)

// encryptAES encrypts block under n keys, at least one, into out.
//
//go:noescape
func encryptAES(out *[16]byte, keys *[32]byte, n int, block *[16]byte)
