package frame

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
)

const (
	// Limits of random padding, in bytes. The specification lets a client add
	// 0..15. A server adds at most 3, because gotd only removes the bytes beyond a
	// multiple of four, and none to transport errors.
	maxClientPadding = 15
	maxServerPadding = 3

	// The header of an encrypted message (auth_key_id, msg_key) and of an
	// unencrypted one (zero auth_key_id, message id, length).
	encryptedHeader   = 24
	unencryptedHeader = 20

	// The shortest ciphertext: 32 bytes of salt, session, message id, sequence
	// number and length, and at least 12 bytes of MTProto's padding, in blocks of
	// 16.
	minEncryptedBody = 48
)

// drawPadding fills tail with random bytes and returns the length of the padding
// in it, uniformly distributed. If source is nil, it uses the runtime's ChaCha8
// generator, which the kernel seeds: a system call for each packet would cost more
// than the packet.
func drawPadding(source io.Reader, from Side, tail *[16]byte) (int, error) {
	if source == nil {
		binary.LittleEndian.PutUint64(tail[:8], rand.Uint64())
		binary.LittleEndian.PutUint64(tail[8:], rand.Uint64())
	} else if _, err := io.ReadFull(source, tail[:]); err != nil {
		return 0, err
	}
	limit := byte(maxClientPadding)
	if from == Server {
		limit = maxServerPadding
	}
	// The last byte is never sent, so it can determine the length.
	return int(tail[15] & limit), nil
}

// messageLength returns the length of the MTProto message at the front of a padded
// frame. It is exact for an unencrypted message, which contains its length, and
// for an encrypted one, which is 24 bytes and whole cipher blocks. Anything else
// keeps its whole words, as with every known receiver; the message layer has to
// check it.
func messageLength(frame []byte) int {
	words := len(frame) &^ 3
	if len(frame) < unencryptedHeader {
		return words
	}
	if binary.LittleEndian.Uint64(frame) == 0 {
		// The tail has no limit: Android adds up to 256 bytes.
		body := uint64(binary.LittleEndian.Uint32(frame[16:]))
		if n := unencryptedHeader + body; body != 0 && body%4 == 0 && n <= uint64(len(frame)) {
			return int(n)
		}
		return words
	}
	if body := (len(frame) - encryptedHeader) &^ 15; body >= minEncryptedBody {
		return encryptedHeader + body
	}
	return words
}
