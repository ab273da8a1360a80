package aesctr

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"
)

// each runs a test with crypto/aes and, if this processor has it, with VAES.
func each(t *testing.T, run func(t *testing.T)) {
	best := vaes
	defer func() { vaes = best }()
	vaes = false
	t.Run("crypto/aes", run)
	if vaes = hasVAES(); vaes {
		t.Run("VAES", run)
	}
}

// unhex decodes hexadecimal digits.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reference returns n bytes of a key stream from position 0, by crypto/cipher.
func reference(key *[KeyLength]byte, iv *[IVLength]byte, n int) []byte {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	b := make([]byte, n)
	cipher.NewCTR(block, iv[:]).XORKeyStream(b, b)
	return b
}

// xored returns the XOR of first and as many bytes of the others.
func xored(first []byte, others ...[]byte) []byte {
	sum := slices.Clone(first)
	for _, b := range others {
		subtle.XORBytes(sum, sum, b[:len(sum)])
	}
	return sum
}

// random returns n bytes, the same for the same seed.
func random(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

func randomKey(seed uint64) (key [KeyLength]byte, iv [IVLength]byte) {
	copy(key[:], random(seed, KeyLength))
	copy(iv[:], random(seed+1<<12, IVLength))
	return key, iv
}

// The published vectors, encrypted at once and byte by byte.
//
// Specification: https://doi.org/10.6028/NIST.SP.800-38A, F.5.5 and F.5.6
func TestVectorsOfSP80038A(t *testing.T) {
	key := [KeyLength]byte(unhex(t, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"))
	iv := [IVLength]byte(unhex(t, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))
	clear := unhex(t, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"+
		"30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	want := unhex(t, "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"+
		"2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6")
	each(t, func(t *testing.T) {
		for _, piece := range []int{len(clear), 16, 7, 1} {
			s := New(&key, &iv, 0)
			var got []byte
			for rest := clear; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				b := make([]byte, min(piece, len(rest)))
				s.XORKeyStream(b, rest[:len(b)])
				got = append(got, b...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("pieces of %d: got %x, want %x", piece, got, want)
			}
		}
	})
}

// Every length up to 1100 and every start in a block and in a tile give the bytes of
// crypto/cipher, wherever they are in memory, and nothing beside them changes.
func TestEveryLengthAndStart(t *testing.T) {
	const longest, margin = 1100, 64
	key, iv := randomKey(1)
	stream := reference(&key, &iv, 300+longest)
	clear := random(2, margin+longest)
	each(t, func(t *testing.T) {
		buf := make([]byte, longest+2*margin)
		for n := range longest + 1 {
			start, at := n*7%300, margin-n%33
			src := clear[n%margin:][:n]
			for i := range buf {
				buf[i] = 0xa5
			}
			s := New(&key, &iv, uint64(start))
			s.XORKeyStream(buf[at:at+n], src)
			if !bytes.Equal(buf[at:at+n], xored(src, stream[start:start+n])) {
				t.Fatalf("%d bytes from %d: other bytes", n, start)
			}
			beside := slices.Concat(buf[:at], buf[at+n:])
			if slices.ContainsFunc(beside, func(b byte) bool { return b != 0xa5 }) {
				t.Fatalf("%d bytes from %d: bytes beside dst were changed", n, start)
			}
		}
		for start := range 300 { // in place
			s := New(&key, &iv, uint64(start))
			got := slices.Clone(clear[:600])
			s.XORKeyStream(got, got)
			if !bytes.Equal(got, xored(clear[:600], stream[start:start+600])) {
				t.Fatalf("600 bytes in place from %d: other bytes", start)
			}
		}
	})
}

// The counter carries over 64 bits, and wraps around at 128, at any distance from the
// start: within a tile, at its border, and within and between calls.
func TestCounterCarries(t *testing.T) {
	key, _ := randomKey(3)
	ivs := [][IVLength]byte{{}, {}, {}}
	for i := range IVLength {
		ivs[0][i] = 0xff // wraps around
		if i > 0 {
			ivs[1][i] = 0xff // carries to the first byte
		}
		if i >= 8 {
			ivs[2][i] = 0xff // carries to the high half
		}
	}
	const size = 3 * 16 << 10
	clear := random(4, size)
	each(t, func(t *testing.T) {
		for _, iv := range ivs {
			for _, before := range []int{1, 2, 15, 16, 17, 31, 33, 1023, 1024, 1025, 2047, 2048, 2050} {
				iv := iv
				low := uint16(iv[14])<<8 | uint16(iv[15])
				low -= uint16(before - 1)
				iv[14], iv[15] = byte(low>>8), byte(low)
				stream := reference(&key, &iv, size)
				other, otherIV := randomKey(5)
				second := reference(&other, &otherIV, size)
				for _, start := range []int{0, 5, 16, 16 * (before - 1), 16 * before} {
					a, b := New(&key, &iv, uint64(start)), New(&other, &otherIV, uint64(start))
					for _, swap := range []bool{false, true} {
						a, b := a, b
						got := make([]byte, size-start)
						if swap {
							XORKeyStreams(got, clear[start:], &b, &a)
						} else {
							XORKeyStreams(got, clear[start:], &a, &b)
						}
						if !bytes.Equal(got, xored(clear[start:], stream[start:], second[start:])) {
							t.Errorf("IV %x, from %d: other bytes of two streams (swap %t)", iv, start, swap)
						}
					}
					got := make([]byte, size-start)
					a.XORKeyStream(got, clear[start:])
					if !bytes.Equal(got, xored(clear[start:], stream[start:])) {
						t.Errorf("IV %x, from %d: other bytes", iv, start)
					}
				}
			}
		}
	})
}

// A position beyond 4 GiB, and one whose block number has more than 32 bits, continue
// the same counter.
func TestLargePositions(t *testing.T) {
	key, iv := randomKey(6)
	iv[15] = 0
	each(t, func(t *testing.T) {
		for _, block := range []uint64{1 << 28, 1<<32 + 3, 1<<60 - 1} {
			far := iv
			for i, carry := 15, block; i >= 0; i-- {
				carry += uint64(far[i])
				far[i] = byte(carry)
				carry >>= 8
			}
			s := New(&key, &iv, block*aes.BlockSize+3)
			got := make([]byte, 1000)
			s.XORKeyStream(got, got)
			if !bytes.Equal(got, reference(&key, &far, 1003)[3:]) {
				t.Errorf("block %d: other bytes", block)
			}
		}
	})
}

// Two streams in one pass, in pieces of any size, give what one after the other gives,
// whether or not their blocks begin at the same bytes. Rest changes nothing.
func TestTwoStreams(t *testing.T) {
	const size = 100 << 10
	keyA, ivA := randomKey(7)
	keyB, ivB := randomKey(8)
	first, second := reference(&keyA, &ivA, size), reference(&keyB, &ivB, size)
	each(t, func(t *testing.T) {
		for _, starts := range [][2]int{{0, 0}, {64, 64}, {64, 0}, {5, 21}, {5, 6}, {0, 15}} {
			length := size - max(starts[0], starts[1])
			clear := random(9, length)
			a, b := New(&keyA, &ivA, uint64(starts[0])), New(&keyB, &ivB, uint64(starts[1]))
			got := slices.Clone(clear)
			for n, rest := 1, got; len(rest) > 0; n = n*3%9973 + 1 {
				n = min(n, len(rest))
				XORKeyStreams(rest[:n], rest[:n], &a, &b)
				rest = rest[n:]
				if n%2 == 0 {
					a.Rest()
				}
			}
			if !bytes.Equal(got, xored(clear, first[starts[0]:][:length], second[starts[1]:][:length])) {
				t.Errorf("from %d: other bytes", starts)
			}
		}
	})
}

// dst must have room, and must not overlap src in part, as with crypto/cipher.
func TestWrongSlicesPanic(t *testing.T) {
	each(t, func(t *testing.T) {
		b := make([]byte, 1000)
		for name, call := range map[string]func(s *Stream){
			"short dst":     func(s *Stream) { s.XORKeyStream(make([]byte, 9), b[:10]) },
			"dst before":    func(s *Stream) { s.XORKeyStream(b[:500], b[1:501]) },
			"dst behind":    func(s *Stream) { s.XORKeyStream(b[499:999], b[:500]) },
			"overlap, two":  func(s *Stream) { other := *s; XORKeyStreams(b[1:], b[:999], s, &other) },
			"empty, no dst": nil,
			"adjacent":      func(s *Stream) { s.XORKeyStream(b[500:], b[:500]); s.XORKeyStream(b[:500], b[500:]) },
		} {
			key, iv := randomKey(10)
			s := New(&key, &iv, 0)
			if call == nil {
				s.XORKeyStream(nil, nil)
				continue
			}
			panicked := func() (p bool) {
				defer func() { p = recover() != nil }()
				call(&s)
				return false
			}()
			if panicked != (name != "adjacent") {
				t.Errorf("%s: panicked: %t", name, panicked)
			}
		}
	})
}

// With VAES a call allocates nothing, and leaves nothing in the Stream that Rest could
// drop.
func TestNoStateIsKept(t *testing.T) {
	if !vaes {
		t.Skip("this processor has no VAES")
	}
	a, b := Stream{}, Stream{}
	buf := make([]byte, 1000)
	if n := testing.AllocsPerRun(100, func() { XORKeyStreams(buf, buf, &a, &b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if a.std != nil || b.std != nil {
		t.Error("state is kept")
	}
}

// FuzzAgainstTheStandardLibrary compares one and two streams, at any positions and in
// two pieces, with crypto/cipher.
func FuzzAgainstTheStandardLibrary(f *testing.F) {
	f.Add(make([]byte, 32), make([]byte, 16), uint16(0), uint16(0), uint16(100), []byte("bytes"))
	f.Add(bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{255}, 16), uint16(65), uint16(17), uint16(1), make([]byte, 700))
	f.Add(make([]byte, 32), bytes.Repeat([]byte{255}, 15), uint16(3), uint16(3), uint16(4000), make([]byte, 40000))
	f.Fuzz(func(t *testing.T, k, i []byte, startA, startB, cut uint16, clear []byte) {
		var key [KeyLength]byte
		var iv [IVLength]byte
		copy(key[:], k)
		copy(iv[:], i)
		otherKey, otherIV := key, iv
		slices.Reverse(otherKey[:])
		slices.Reverse(otherIV[:])
		a, b, one := New(&key, &iv, uint64(startA)), New(&otherKey, &otherIV, uint64(startB)), New(&key, &iv, uint64(startA))
		got, single := make([]byte, len(clear)), slices.Clone(clear)
		n := int(cut) % (len(clear) + 1)
		XORKeyStreams(got[:n], clear[:n], &a, &b)
		XORKeyStreams(got[n:], clear[n:], &a, &b)
		one.XORKeyStream(single[:n], single[:n])
		one.XORKeyStream(single[n:], single[n:])
		first := reference(&key, &iv, int(startA)+len(clear))[startA:]
		second := reference(&otherKey, &otherIV, int(startB)+len(clear))[startB:]
		if !bytes.Equal(single, xored(clear, first)) {
			t.Error("one stream: other bytes")
		}
		if !bytes.Equal(got, xored(clear, first, second)) {
			t.Error("two streams: other bytes")
		}
	})
}
