package obfuscation

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
)

// KeyStream is the material of one direction: an AES-256 key, and the first
// value of a 128-bit big-endian counter behind it.
type KeyStream [keyLength + ivLength]byte

// StreamAt starts the cipher behind the first n bytes.
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

// Cursor returns a cipher behind the first n bytes.
func (k *KeyStream) Cursor(n uint64) Cursor { return Cursor{key: *k, offset: n} }

// mix puts the key of a proxy secret into the key of the stream.
func (k *KeyStream) mix(key *[16]byte) {
	var b [keyLength + len(key)]byte
	copy(b[:], k[:keyLength])
	copy(b[keyLength:], key[:])
	sum := sha256.Sum256(b[:])
	copy(k[:], sum[:])
}

// keyStreams derives both directions from an init payload, in clear or as it
// was on the wire: bytes 8..56 are the same. key may be nil.
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

// Cursor is a place in a key stream: a cipher.Stream that can be put to rest. A
// started cipher takes ten times the memory of the key, and a proxy has
// thousands of connections in which nothing moves. It is not safe for
// concurrent use.
type Cursor struct {
	key    KeyStream
	offset uint64
	stream cipher.Stream // nil at rest
}

// XORKeyStream goes on from where the last call ended.
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

// Rest gives up the cipher until it is needed again.
func (c *Cursor) Rest() { c.stream = nil }
