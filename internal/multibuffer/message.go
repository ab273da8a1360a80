package multibuffer

import (
	"crypto/sha256"
	"encoding/binary"
)

// Message is a message for Group.HMAC. It must not be used by two goroutines
// at the same time.
type Message struct {
	padded []byte // with SHA-256's padding, as it follows the key's block
	length int

	// schedule has w[t] + k[t] of each block of padded, once it was needed.
	schedule [][64]uint32
}

// NewMessage returns the message that is the parts, one behind the other. It
// keeps no reference to them. It takes the memory of the message and, when a
// group has more than a few keys, four times as much again.
func NewMessage(parts ...[]byte) Message {
	var m Message
	for _, part := range parts {
		m.length += len(part)
	}
	// Behind the message come a bit, zeros, and at the end of a block the
	// length in bits.
	blocks := (m.length + 1 + 8 + sha256.BlockSize - 1) / sha256.BlockSize
	m.padded = make([]byte, 0, blocks*sha256.BlockSize)
	for _, part := range parts {
		m.padded = append(m.padded, part...)
	}
	m.padded = append(m.padded, 0x80)
	m.padded = m.padded[:cap(m.padded)]
	binary.BigEndian.PutUint64(m.padded[len(m.padded)-8:], uint64(sha256.BlockSize+m.length)*8)
	return m
}

// bytes returns the message itself.
func (m *Message) bytes() []byte { return m.padded[:m.length] }
