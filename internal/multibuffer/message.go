package multibuffer

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Message is the message of Batch.HMAC. The zero value needs a Set. It is not safe for
// concurrent use.
type Message struct {
	padded []byte // with SHA-256's padding, as it follows the key's block
	length int    // without padding

	// schedule is w[t] + k[t] for each block of padded. It is empty before the
	// first expand.
	schedule [][64]uint32
}

// NewMessage returns the message of the concatenated parts, without a reference to
// them. It allocates the length of the message and, for a batch of more than a few
// keys, four times as much again.
func NewMessage(parts ...[]byte) Message {
	var m Message
	m.Set(parts...)
	return m
}

// Set makes m the message of the concatenated parts, without a reference to them. It
// uses the memory of the message before, as far as that is enough.
func (m *Message) Set(parts ...[]byte) {
	m.length = 0
	for _, part := range parts {
		m.length += len(part)
	}
	// The padding is a 1 bit, zeros, and the length in bits in the last eight
	// bytes of a block.
	blocks := (m.length + 1 + 8 + sha256.BlockSize - 1) / sha256.BlockSize
	m.padded = slices.Grow(m.padded[:0], blocks*sha256.BlockSize)
	m.schedule = m.schedule[:0]
	for _, part := range parts {
		m.padded = append(m.padded, part...)
	}
	m.padded = append(m.padded, 0x80)
	m.padded = m.padded[:blocks*sha256.BlockSize]
	clear(m.padded[m.length+1:])
	binary.BigEndian.PutUint64(m.padded[len(m.padded)-8:], uint64(sha256.BlockSize+m.length)*8)
}

// bytes returns the message without padding.
func (m *Message) bytes() []byte { return m.padded[:m.length] }
