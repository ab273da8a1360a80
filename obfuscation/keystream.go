package obfuscation

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/mtwire/mtwire/internal/aesctr"
)

// KeyStream is the AES-256-CTR material of one direction: the key, followed by the
// first value of the 128-bit big-endian counter.
type KeyStream [keyLength + ivLength]byte

func (k *KeyStream) key() *[keyLength]byte { return (*[keyLength]byte)(k[:keyLength]) }

func (k *KeyStream) iv() *[ivLength]byte { return (*[ivLength]byte)(k[keyLength:]) }

// StreamAt returns a new cipher at position n, in bytes.
func (k *KeyStream) StreamAt(n uint64) cipher.Stream { return aesctr.Start(k.key(), k.iv(), n) }

// Cursor returns a Cursor at position n, in bytes.
func (k *KeyStream) Cursor(n uint64) Cursor { return Cursor{aesctr.New(k.key(), k.iv(), n)} }

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
// key, and a proxy has thousands of idle connections. Processors with VAES need none. A
// Cursor is not safe for concurrent use.
type Cursor struct{ stream aesctr.Stream }

// XORKeyStream continues at the position where the last call ended. It makes the
// cipher state if one is needed and there is none. dst must not be shorter than src,
// and must overlap it entirely or not at all.
func (c *Cursor) XORKeyStream(dst, src []byte) { c.stream.XORKeyStream(dst, src) }

// Reencrypt is from.XORKeyStream, and then to.XORKeyStream of the result, in one pass
// over the bytes: it decrypts src with one key stream and encrypts it with the other,
// into dst. from and to must differ.
func Reencrypt(dst, src []byte, from, to *Cursor) {
	aesctr.XORKeyStreams(dst, src, &from.stream, &to.stream)
}

// Rest drops the cipher state until the next XORKeyStream.
func (c *Cursor) Rest() { c.stream.Rest() }

// CursorLength is the length of an encoded Cursor, in bytes.
const CursorLength = keyLength + ivLength + 8

// AppendBinary appends c to b, so that another process can go on from there: the key of
// 32 bytes, the first counter of 16, and the position in bytes as a big-endian uint64.
// It is an encoding.BinaryAppender, and never fails. The bytes are as secret as the key.
func (c *Cursor) AppendBinary(b []byte) ([]byte, error) {
	key, iv, offset := c.stream.Position()
	b = append(append(b, key[:]...), iv[:]...)
	return binary.BigEndian.AppendUint64(b, offset), nil
}

// UnmarshalBinary sets c to what AppendBinary has appended, which are exactly
// CursorLength bytes. After an error c is unchanged.
func (c *Cursor) UnmarshalBinary(b []byte) error {
	if len(b) != CursorLength {
		return fmt.Errorf("obfuscation: a cursor of %d bytes: want %d", len(b), CursorLength)
	}
	key, iv := (*[keyLength]byte)(b), (*[ivLength]byte)(b[keyLength:])
	c.stream = aesctr.New(key, iv, binary.BigEndian.Uint64(b[keyLength+ivLength:]))
	return nil
}
