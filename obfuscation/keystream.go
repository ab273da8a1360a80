package obfuscation

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
)

// KeyStream is the AES-256-CTR material of one direction: the key, followed by the
// first value of the 128-bit big-endian counter.
type KeyStream [keyLength + ivLength]byte

// StreamAt returns a new cipher at position n, in bytes.
func (k *KeyStream) StreamAt(n uint64) cipher.Stream {
	block, err := aes.NewCipher(k[:keyLength])
	if err != nil {
		panic("internal error: " + err.Error()) // the key's length is fixed
	}
	counter := [aes.BlockSize]byte(k[keyLength:])
	addCounter(&counter, n/aes.BlockSize)
	s := cipher.NewCTR(block, counter[:])
	if used := n % aes.BlockSize; used > 0 {
		var skip [aes.BlockSize]byte
		s.XORKeyStream(skip[:used], skip[:used])
	}
	return s
}

// Cursor returns a Cursor at position n, in bytes.
func (k *KeyStream) Cursor(n uint64) Cursor { return Cursor{key: *k, offset: n} }

// mix replaces the AES key by the SHA-256 of it and the key of a proxy's secret.
func (k *KeyStream) mix(key *[16]byte) {
	var b [keyLength + len(key)]byte
	copy(b[:], k[:keyLength])
	copy(b[keyLength:], key[:])
	sum := sha256.Sum256(b[:])
	copy(k[:], sum[:])
}

// keyStreams derives both directions from an init payload, encrypted or not: bytes
// 8..56 are the same. key may be nil.
func keyStreams(payload *[InitLength]byte, key *[16]byte) (upload, download KeyStream) {
	copy(upload[:], payload[keyStart:tagStart])
	for i := range download {
		download[i] = payload[tagStart-1-i]
	}
	if key != nil {
		upload.mix(key)
		download.mix(key)
	}
	return upload, download
}

// Cursor is a position in a key stream: a cipher.Stream whose cipher state can be
// dropped while the connection is idle. The state takes ten times the memory of the
// key, and a proxy has thousands of idle connections. A Cursor is not safe for
// concurrent use.
type Cursor struct {
	key    KeyStream
	offset uint64
	stream cipher.Stream // nil after Rest
}

// XORKeyStream continues at the position where the last call ended. It makes the
// cipher state if there is none.
func (c *Cursor) XORKeyStream(dst, src []byte) {
	if len(src) == 0 {
		return
	}
	if c.stream == nil {
		c.stream = c.key.StreamAt(c.offset)
	}
	c.stream.XORKeyStream(dst, src)
	c.offset += uint64(len(src))
}

// Rest drops the cipher state until the next XORKeyStream.
func (c *Cursor) Rest() { c.stream = nil }
