package aesctr

import "crypto/aes"

const (
	// tile is how many bytes the instructions compute at a time, 16 blocks.
	tile = 256

	// callBytes bounds the bytes of one call of xorTiles: the scheduler cannot stop
	// a goroutine in assembly. It is a few microseconds' work.
	callBytes = 16 << 10
)

// schedule is the round keys of AES-256.
type schedule [15][16]byte

// counter is a counter block as xorTiles increments it: the low half first.
type counter [2]uint64

// lane is a Stream in a call of xorVAES.
type lane struct {
	stream *Stream
	keys   schedule
	next   counter
}

// xorVAES is xor with VAES. The blocks of both streams begin at the same bytes.
func xorVAES(dst, src []byte, a, b *Stream) {
	var first, second lane
	first.start(a)
	var keys *schedule // of second
	if b != nil {
		second.start(b)
		keys = &second.keys
	}
	for len(src) > 0 {
		phase := int(a.offset % aes.BlockSize)
		n := first.run(min(len(src), callBytes-phase), phase) // the next piece begins with a block
		if b != nil {
			n = second.run(n, phase)
		}
		xorPiece(dst[:n], src[:n], phase, &first, &second, keys)
		a.offset += uint64(n)
		if b != nil {
			b.offset += uint64(n)
		}
		dst, src = dst[n:], src[n:]
	}
}

func (l *lane) start(s *Stream) {
	l.stream = s
	expandKey(&l.keys, &s.key)
}

// run sets the counter to that of the stream's next byte, which is at phase in its
// block, and returns how many of the next n bytes, at most callBytes, come before the
// counter's low half wraps around.
func (l *lane) run(n, phase int) int {
	high, low := l.stream.counter()
	l.next = counter{low, high}
	if blocks := -low; blocks != 0 && blocks <= callBytes/aes.BlockSize {
		return min(n, int(blocks)*aes.BlockSize-phase)
	}
	return n
}

// xorPiece XORs up to callBytes bytes, of which the first is the one at phase in its
// block. keys is nil if there is no second stream.
func xorPiece(dst, src []byte, phase int, a, b *lane, keys *schedule) {
	if phase != 0 {
		n := xorPart(dst, src, phase, a, b, keys)
		dst, src = dst[n:], src[n:]
	}
	if tiles := len(src) / tile; tiles > 0 {
		xorTiles(&dst[0], &src[0], tiles, &a.keys, keys, &a.next, &b.next)
		dst, src = dst[tiles*tile:], src[tiles*tile:]
	}
	if len(src) > 0 {
		xorPart(dst, src, 0, a, b, keys)
	}
}

// xorPart XORs what src has of a tile that begins phase bytes before it, and returns
// the number of bytes. The tile is a copy: xorTiles reads and writes all of it.
func xorPart(dst, src []byte, phase int, a, b *lane, keys *schedule) int {
	var whole [tile]byte
	n := copy(whole[phase:], src)
	xorTiles(&whole[0], &whole[0], 1, &a.keys, keys, &a.next, &b.next)
	return copy(dst, whole[phase:phase+n])
}

// xorTiles XORs tiles, at least one, of src with the key stream of a, and of b unless
// that is nil, into dst, and advances the counters. Their low halves must not wrap
// around in a block that the caller uses.
//
//go:noescape
func xorTiles(dst, src *byte, tiles int, a, b *schedule, nextA, nextB *counter)

// expandKey computes the round keys.
//
//go:noescape
func expandKey(keys *schedule, key *[KeyLength]byte)

// hasVAES reports whether the processor has VAES for registers of 32 bytes, and whether
// the operating system saves those. x/sys/cpu reports VAES with AVX-512 only.
func hasVAES() bool {
	highest, _, _ := cpuid(0, 0)
	if highest < 7 {
		return false
	}
	_, _, features := cpuid(1, 0)
	if features&osxsave == 0 {
		return false // without it xgetbv is not an instruction
	}
	_, extended, more := cpuid(7, 0)
	return supports(features, extended, more, xgetbv())
}

// Bits of CPUID leaf 1, ECX; of leaf 7, EBX and ECX; and of the register XCR0.
//
// Specification: Intel's Software Developer's Manual, volume 2, CPUID, and volume 1,
// section 13.3 (https://www.intel.com/sdm).
const (
	aesni   = 1 << 25
	osxsave = 1 << 27
	avx     = 1 << 28

	avx2    = 1 << 5
	vaesBit = 1 << 9

	xmmAndYMM = 1<<1 | 1<<2
)

// supports is hasVAES for the features of leaf 1 (ECX) and leaf 7 (EBX and ECX), and
// for the register state that the operating system saves.
func supports(features, extended, more, saved uint32) bool {
	const need = aesni | osxsave | avx
	return features&need == need && extended&avx2 != 0 && more&vaesBit != 0 && saved&xmmAndYMM == xmmAndYMM
}

func cpuid(leaf, subleaf uint32) (eax, ebx, ecx uint32)

// xgetbv returns the low half of XCR0.
func xgetbv() uint32
