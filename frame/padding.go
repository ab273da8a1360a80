package frame

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
)

const (
	// Most bytes of padding that each side adds. The official text lets a
	// client draw 0..15. A server stays below 4: gotd removes what is over a
	// multiple of four bytes, and no more. To transport errors it adds none.
	maxClientPadding = 15
	maxServerPadding = 3

	// The header of an encrypted message (auth_key_id, msg_key) and of an
	// unencrypted one (zero auth_key_id, message id, length).
	encryptedHeader   = 24
	unencryptedHeader = 20

	// The least ciphertext: salt, session, message id, sequence number and
	// length are 32 bytes, MTProto's own padding is at least 12.
	minEncryptedBody = 48
)

// drawPadding fills tail with random bytes and returns how many of them are
// padding, each number equally likely. With a nil source it uses the
// runtime's ChaCha8 generator, which the kernel seeds: a system call a packet
// would cost more than the packet.
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
	// The last byte is never sent, so its bits are free to say the number.
	return int(tail[15] & limit), nil
}

// messageLength says where the MTProto message at the front of a padded frame
// ends. What the frame layer can know exactly it cuts exactly: an unencrypted
// message says its length, an encrypted one is 24 bytes and whole cipher
// blocks. Anything else keeps its whole words, as every known receiver does,
// and the message layer judges it.
func messageLength(frame []byte) int {
	words := len(frame) &^ 3
	if len(frame) < unencryptedHeader {
		return words
	}
	if binary.LittleEndian.Uint64(frame) == 0 {
		// No bound on what follows: Android adds up to 256 bytes here.
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
