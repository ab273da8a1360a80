// Package multibuffer computes what a server with thousands of keys needs when a
// stranger calls: HMAC-SHA256 of one message under each key, SHA-256 of one
// prefix with each key behind it, and one block in AES-256 under each result.
// It does no I/O and knows no protocol.
//
// Keys come in groups of 16, and where the processor has AVX2 or AVX-512 their
// SHA-256 runs side by side, one key in each lane of a vector. With HMAC all
// keys but for the first block hash the same bytes, so that what SHA-256 makes
// of these before its rounds, the message schedule, is made only once.
// Elsewhere the standard library does each key alone. Results are the same.
//
//	message.go          the message that all keys share
//	plain.go            each key alone
//	lanes_amd64.go      side by side
//	schedule_amd64.go   what is made once for all keys
//	*_amd64.s           the rounds, in AVX2 and in AVX-512, and the cipher
//
// Specification: https://doi.org/10.6028/NIST.FIPS.180-4 (SHA-256),
// https://doi.org/10.6028/NIST.FIPS.197-upd1 (AES),
// https://www.rfc-editor.org/rfc/rfc2104 (HMAC)
package multibuffer

import (
	"crypto/subtle"
	"encoding/binary"
)

// Width is how many keys a Group has room for.
const Width = 16

// row has one word of each key's.
type row [Width]uint32

// Group is up to Width keys of 16 bytes that are tried together. The zero
// value has none. Computing does not change it.
type Group struct {
	words [4]row // words[i][k] is word i of key k
	n     int
}

// Reset takes all keys out.
func (g *Group) Reset() { g.n = 0 }

// Add puts a copy of key into the next free place. It panics if Width keys are
// there.
func (g *Group) Add(key *[16]byte) {
	for i := range g.words {
		g.words[i][g.n] = binary.BigEndian.Uint32(key[4*i:])
	}
	g.n++
}

// key returns key k as it was added.
func (g *Group) key(k int) (key [16]byte) {
	for i := range g.words {
		binary.BigEndian.PutUint32(key[4*i:], g.words[i][k])
	}
	return key
}

// HMAC sets sums to the HMAC-SHA256 of m under each key.
func (g *Group) HMAC(m *Message, sums *Sums) { best.hmac(g, m, sums) }

// Digest sets sums to the SHA-256 of prefix and, behind it, each key.
func (g *Group) Digest(prefix *[32]byte, sums *Sums) { best.digest(g, prefix, sums) }

// Sums are the results for a Group, in the order of its keys. One value can
// serve many groups in turn.
type Sums struct {
	words [8]row // words[i][k] is word i of key k's sum
	n     int
}

// Sum returns what key k gave, in the order in which keys were added.
func (s *Sums) Sum(k int) (sum [32]byte) {
	for i := range s.words {
		binary.BigEndian.PutUint32(sum[4*i:], s.words[i][k])
	}
	return sum
}

func (s *Sums) set(k int, sum *[32]byte) {
	for i := range s.words {
		s.words[i][k] = binary.BigEndian.Uint32(sum[4*i:])
	}
}

// Find returns the first key whose sum begins with these 28 bytes, or -1. The
// time it takes tells nothing about the sums, nor about which key it was.
func (s *Sums) Find(begin *[28]byte) int {
	var differ row
	for i := range len(begin) / 4 {
		want := binary.BigEndian.Uint32(begin[4*i:])
		for k := range differ {
			differ[k] |= s.words[i][k] ^ want
		}
	}
	found := -1
	for k := s.n - 1; k >= 0; k-- {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeEq(int32(differ[k]), 0), k, found)
	}
	return found
}

// EncryptAES encrypts block in AES-256 with each sum as the key. It returns
// how many there are, which is the number of keys in the group; what is behind
// them in out stays as it was.
func (s *Sums) EncryptAES(block *[16]byte, out *[Width][16]byte) int {
	var keys [Width][32]byte
	for k := range s.n {
		keys[k] = s.Sum(k)
	}
	best.encryptAES(out[:s.n], keys[:s.n], block)
	return s.n
}
