package mtwiretest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Unencrypted messages, as far as the first step of a key exchange needs them.
//
//	 0  8  zero, in place of an auth key's id
//	 8  8  message id
//	16  4  length of what follows
//	20  n  the object, and what may stand behind it
//
// Clients put random bytes behind the object, inside the length (TDLib,
// Telegram Desktop) or outside it (Android), and TDLib sends 0 or 1 for a
// message id. All of that is taken.
//
// Specification: https://core.telegram.org/mtproto/description#unencrypted-message
const (
	messageHeader = 20

	reqPQ      = 0x60469778
	reqPQMulti = 0xbe7e8ef1
	resPQ      = 0x05162463
	vector     = 0x1cb5c415

	nonceLength   = 16
	requestLength = 4 + nonceLength
	answerLength  = 4 + nonceLength + nonceLength + 12 + 4 + 4 + 8
)

// The product of two primes, and the fingerprint of the key that Telegram's
// test servers have.
const (
	prime1      = 1229739323
	prime2      = 1402015859
	fingerprint = 0xb25898df208d2603
)

// AppendReqPQ appends req_pq_multi with the given nonce, a message of 40
// bytes, and a tail inside its length.
func AppendReqPQ(dst []byte, nonce [nonceLength]byte, tail []byte) []byte {
	dst = appendHeader(dst, messageID(0), requestLength+len(tail))
	dst = binary.LittleEndian.AppendUint32(dst, reqPQMulti)
	dst = append(dst, nonce[:]...)
	return append(dst, tail...)
}

// CheckResPQ says whether message is a resPQ to a request with that nonce.
func CheckResPQ(message []byte, nonce [nonceLength]byte) error {
	body, err := openUnencrypted(message)
	switch {
	case err != nil:
		return err
	case len(body) < answerLength:
		return fmt.Errorf("resPQ of %d bytes, want at least %d", len(body), answerLength)
	case binary.LittleEndian.Uint32(body) != resPQ:
		return fmt.Errorf("object %08x, want resPQ", binary.LittleEndian.Uint32(body))
	case [nonceLength]byte(body[4:]) != nonce:
		return errors.New("resPQ has another nonce")
	}
	pq := binary.BigEndian.Uint64(body[37:])
	if body[36] != 8 || pq != prime1*prime2 {
		return fmt.Errorf("resPQ has pq %d", pq)
	}
	return nil
}

// appendResPQ appends the answer to a request with that nonce, a message of
// 84 bytes. Android takes anything up to 56 for a service packet.
func appendResPQ(dst []byte, nonce, serverNonce [nonceLength]byte) []byte {
	dst = appendHeader(dst, messageID(1), answerLength)
	dst = binary.LittleEndian.AppendUint32(dst, resPQ)
	dst = append(dst, nonce[:]...)
	dst = append(dst, serverNonce[:]...)
	dst = append(dst, 8)
	dst = binary.BigEndian.AppendUint64(dst, prime1*prime2)
	dst = append(dst, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, vector)
	dst = binary.LittleEndian.AppendUint32(dst, 1)
	return binary.LittleEndian.AppendUint64(dst, fingerprint)
}

func appendHeader(dst []byte, id uint64, length int) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, id)
	return binary.LittleEndian.AppendUint32(dst, uint32(length))
}

// messageID is the time in seconds and its fraction; the lowest two bits say
// who sends: 0 a client, 1 a server that answers.
func messageID(low uint64) uint64 {
	now := time.Now()
	return uint64(now.Unix())<<32 | uint64(now.Nanosecond())<<2&^3 | low
}

// openUnencrypted returns the body of an unencrypted message.
func openUnencrypted(message []byte) ([]byte, error) {
	if len(message) < messageHeader {
		return nil, fmt.Errorf("message of %d bytes, want more than %d", len(message), messageHeader)
	}
	if binary.LittleEndian.Uint64(message) != 0 {
		return nil, errors.New("message is encrypted")
	}
	length := binary.LittleEndian.Uint32(message[16:])
	if uint64(length) > uint64(len(message)-messageHeader) {
		return nil, fmt.Errorf("message of %d bytes says it has %d behind its header", len(message), length)
	}
	return message[messageHeader : messageHeader+int(length)], nil
}

func newNonce() (nonce [nonceLength]byte) {
	rand.Read(nonce[:]) // it does not fail
	return nonce
}
