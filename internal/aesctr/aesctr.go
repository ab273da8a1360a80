// Package aesctr is AES-256 in counter mode as a proxy needs it: for bulk, with two
// key streams at once, and for thousands of connections in which nothing moves.
//
// Where the processor has VAES and AVX2, the AES instructions on registers of 32
// bytes, a Stream computes its round keys anew in each call, in less than 100 ns, and
// keeps none. Elsewhere it uses crypto/aes. The environment variable MTWIRE_AESCTR=off
// makes it use crypto/aes everywhere.
//
//	aesctr.go       Stream
//	vaes_amd64.go   whole tiles in place, and the rest in a copy; detection
//	vaes_amd64.s    the instructions
//	other.go        other processors
//
// Specifications: https://doi.org/10.6028/NIST.FIPS.197-upd1 (AES) and
// https://doi.org/10.6028/NIST.SP.800-38A (counter mode)
package aesctr

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
	"os"
	"unsafe"
)

const (
	// KeyLength and IVLength are the lengths of a key and of a first counter.
	KeyLength = 32
	IVLength  = aes.BlockSize

	// Variable is the environment variable that turns VAES off with the value off.
	Variable = "MTWIRE_AESCTR"
)

// vaes reports whether VAES is used.
var vaes = hasVAES() && os.Getenv(Variable) != "off"

// Stream is a position in a key stream, a cipher.Stream. It is not safe for concurrent
// use, and may be copied while no state is kept: before its first use, and after Rest.
type Stream struct {
	key    [KeyLength]byte
	iv     [IVLength]byte
	offset uint64
	std    cipher.Stream // crypto/aes's state; nil after Rest, and always with VAES
}

// New returns the Stream at position offset, in bytes. The counter has 128 bits, is
// big-endian and wraps around.
func New(key *[KeyLength]byte, iv *[IVLength]byte, offset uint64) Stream {
	return Stream{key: *key, iv: *iv, offset: offset}
}

// Start returns the key stream from position offset as a cipher.Stream: a *Stream with
// VAES, and crypto/aes's own state otherwise.
func Start(key *[KeyLength]byte, iv *[IVLength]byte, offset uint64) cipher.Stream {
	s := New(key, iv, offset)
	if !vaes {
		return s.start()
	}
	return &s
}

// Position returns the arguments of New that make a Stream of the same position.
func (s *Stream) Position() (key [KeyLength]byte, iv [IVLength]byte, offset uint64) {
	return s.key, s.iv, s.offset
}

// XORKeyStream XORs src with the next bytes of the key stream into dst, which must not
// be shorter and must overlap src entirely or not at all.
func (s *Stream) XORKeyStream(dst, src []byte) { xor(dst, src, s, nil) }

// XORKeyStreams XORs src with the next bytes of both key streams into dst: it decrypts
// with one and encrypts with the other. dst must not be shorter than src, and must
// overlap it entirely or not at all. a and b must differ.
func XORKeyStreams(dst, src []byte, a, b *Stream) { xor(dst, src, a, b) }

// Rest drops the state of crypto/aes, ten times as large as a Stream, until the next
// XORKeyStream.
func (s *Stream) Rest() { s.std = nil }

// xor is XORKeyStream, and XORKeyStreams if b is not nil.
func xor(dst, src []byte, a, b *Stream) {
	if len(src) == 0 {
		return
	}
	dst = dst[:len(src)]
	if inexactOverlap(dst, src) {
		panic("aesctr: dst and src overlap in part")
	}
	switch {
	case !vaes:
		a.xorStd(dst, src)
		if b != nil {
			b.xorStd(dst, dst)
		}
	case b != nil && (a.offset^b.offset)%aes.BlockSize != 0: // their blocks begin at different bytes
		xorVAES(dst, src, a, nil)
		xorVAES(dst, dst, b, nil)
	default:
		xorVAES(dst, src, a, b)
	}
}

// inexactOverlap reports whether a and b, of the same length of at least 1, share
// memory at different indexes.
func inexactOverlap(a, b []byte) bool {
	distance := uintptr(unsafe.Pointer(&a[0])) - uintptr(unsafe.Pointer(&b[0]))
	return distance != 0 && (distance < uintptr(len(a)) || -distance < uintptr(len(a)))
}

// counter returns the counter of the block that the next byte is in.
func (s *Stream) counter() (high, low uint64) {
	low, carry := bits.Add64(binary.BigEndian.Uint64(s.iv[8:]), s.offset/aes.BlockSize, 0)
	return binary.BigEndian.Uint64(s.iv[:8]) + carry, low
}

// xorStd is XORKeyStream with crypto/aes.
func (s *Stream) xorStd(dst, src []byte) {
	if s.std == nil {
		s.std = s.start()
	}
	s.std.XORKeyStream(dst, src)
	s.offset += uint64(len(src))
}

// start returns crypto/aes's state at the current position.
func (s *Stream) start() cipher.Stream {
	block, err := aes.NewCipher(s.key[:])
	if err != nil {
		panic("internal error: " + err.Error()) // the key's length is fixed
	}
	var counter [aes.BlockSize]byte
	high, low := s.counter()
	binary.BigEndian.PutUint64(counter[:8], high)
	binary.BigEndian.PutUint64(counter[8:], low)
	std := cipher.NewCTR(block, counter[:])
	if used := s.offset % aes.BlockSize; used > 0 {
		var skip [aes.BlockSize]byte
		std.XORKeyStream(skip[:used], skip[:used])
	}
	return std
}
