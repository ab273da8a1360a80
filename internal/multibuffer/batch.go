// Package multibuffer computes multi-buffer SHA-256, HMAC-SHA256 and AES-256: one
// message under up to 16 keys at a time, one key in each lane of an AVX2 or
// AVX-512 vector. A server with thousands of keys tries them all for an
// unauthenticated client, with one of
//
//   - HMAC-SHA256 of one message under each key,
//   - SHA-256 of one prefix followed by each key, and one block encrypted in
//     AES-256 under each result.
//
// The package does no I/O and depends on no protocol.
//
// Under HMAC all keys hash the same blocks after the first one, so that the
// message schedule of these is computed once. On other processors the standard
// library computes one key after the other. The results are the same.
//
//	batch.go            keys and their digests
//	message.go          the message that all keys share
//	generic.go          one key after the other
//	engine_amd64.go     all keys of a batch at once; engine_other.go: other processors
//	schedule_amd64.go   SHA-256's message schedule
//	*_amd64.s           SHA-256's rounds in AVX2 and in AVX-512, and AES
//
// Specification: https://doi.org/10.6028/NIST.FIPS.180-4 (SHA-256),
// https://doi.org/10.6028/NIST.FIPS.197-upd1 (AES),
// https://www.rfc-editor.org/rfc/rfc2104 (HMAC)
package multibuffer

import (
	"crypto/subtle"
	"encoding/binary"
)

// Width is the number of keys that a Batch has room for.
const Width = 16

// vector is one word of each key: lane k belongs to key k.
type vector [Width]uint32

// Batch is up to Width keys of 16 bytes that are tried together. The zero value
// is empty. HMAC and SHA256 do not change it.
type Batch struct {
	words [4]vector // words[i][k] is word i of key k
	n     int
}

// Reset removes all keys.
func (b *Batch) Reset() { b.n = 0 }

// Add adds a copy of key. It panics if b has Width keys.
func (b *Batch) Add(key *[16]byte) {
	for i := range b.words {
		b.words[i][b.n] = binary.BigEndian.Uint32(key[4*i:])
	}
	b.n++
}

// key returns key k, counted in the order of Add.
func (b *Batch) key(k int) (key [16]byte) {
	for i := range b.words {
		binary.BigEndian.PutUint32(key[4*i:], b.words[i][k])
	}
	return key
}

// HMAC sets digests to the HMAC-SHA256 of m under each key.
func (b *Batch) HMAC(m *Message, digests *Digests) { best.hmac(b, m, digests) }

// SHA256 sets digests to the SHA-256 of prefix followed by each key.
func (b *Batch) SHA256(prefix *[32]byte, digests *Digests) { best.sha256(b, prefix, digests) }

// Digests are the results of a Batch, in the order of its keys. One value can be
// used for many batches, one after the other.
type Digests struct {
	words [8]vector // words[i][k] is word i of key k's digest
	n     int
}

// Digest returns the digest of key k.
func (d *Digests) Digest(k int) (digest [32]byte) {
	for i := range d.words {
		binary.BigEndian.PutUint32(digest[4*i:], d.words[i][k])
	}
	return digest
}

func (d *Digests) set(k int, digest *[32]byte) {
	for i := range d.words {
		d.words[i][k] = binary.BigEndian.Uint32(digest[4*i:])
	}
}

// Find returns the index of the first key whose digest begins with these 28
// bytes, or -1. Its duration depends neither on the digests nor on the index.
func (d *Digests) Find(begin *[28]byte) int {
	var differ vector
	for i := range len(begin) / 4 {
		want := binary.BigEndian.Uint32(begin[4*i:])
		for k := range differ {
			differ[k] |= d.words[i][k] ^ want
		}
	}
	found := -1
	for k := d.n - 1; k >= 0; k-- {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeEq(int32(differ[k]), 0), k, found)
	}
	return found
}

// EncryptAES encrypts block in AES-256 with each digest as the key. It returns
// the number of keys in the batch and leaves the blocks of out beyond it
// unchanged.
func (d *Digests) EncryptAES(block *[16]byte, out *[Width][16]byte) int {
	var keys [Width][32]byte
	for k := range d.n {
		keys[k] = d.Digest(k)
	}
	best.encryptAES(out[:d.n], keys[:d.n], block)
	return d.n
}
