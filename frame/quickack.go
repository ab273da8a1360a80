package frame

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// ErrNoQuickAck means that the framing, Full, has no quick acknowledgements.
var ErrNoQuickAck = errors.New("the framing has no quick ack")

// AuthKeyLength is the length of an MTProto auth key in bytes.
const AuthKeyLength = 256

// quickAckBit is the top bit of a length or of a token. From a client it requests
// an acknowledgement, from a server it marks a token.
const quickAckBit = 0x80000000

// QuickAckToken returns the token of a packet under MTProto 2.0: the first four
// bytes of the hash whose middle is the packet's msg_key, with the top bit set.
//
// plaintext is the packet's encrypted part before encryption: salt, session,
// message and MTProto's padding, without transport padding. from is the side that
// sends the packet (not the acknowledgement): Client in practice. QuickAckToken
// panics if authKey is not AuthKeyLength bytes long.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#quick-ack
func QuickAckToken(authKey, plaintext []byte, from Side) uint32 {
	if len(authKey) != AuthKeyLength {
		panic("frame: auth key is not 256 bytes")
	}
	x := 0
	if from == Server {
		x = 8
	}
	h := sha256.New()
	h.Write(authKey[88+x : 120+x])
	h.Write(plaintext)
	var sum [sha256.Size]byte
	return binary.LittleEndian.Uint32(h.Sum(sum[:0])) | quickAckBit
}

// QuickAckTokenV1 returns the token of a packet under MTProto 1.0. plaintext does
// not include MTProto's padding.
func QuickAckTokenV1(plaintext []byte) uint32 {
	sum := sha1.Sum(plaintext)
	return binary.LittleEndian.Uint32(sum[:]) | quickAckBit
}
