package mtwiretest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Unencrypted messages: req_pq, req_pq_multi and resPQ, the first step of a key
// exchange.
//
//	 0  8  zero, in place of auth_key_id
//	 8  8  message id
//	16  4  length of the rest
//	20  n  the object and its tail
//
// The tail is random bytes inside the length (TDLib, Telegram Desktop) or behind
// it (Android). TDLib sends 0 or 1 for a message id. All of these are accepted.
//
// Specification: https://core.telegram.org/mtproto/description#unencrypted-message
const (
	messageHeaderLength = 20

	reqPQ      = 0x60469778
	reqPQMulti = 0xbe7e8ef1
	resPQ      = 0x05162463
	vector     = 0x1cb5c415

	nonceLength   = 16
	requestLength = 4 + nonceLength
	answerLength  = 4 + nonceLength + nonceLength + 12 + 4 + 4 + 8
)

// pq is prime1*prime2. fingerprint is that of the RSA key of Telegram's test
// servers.
const (
	prime1      = 1229739323
	prime2      = 1402015859
	fingerprint = 0xb25898df208d2603
)

// AppendReqPQ appends an unencrypted message with req_pq_multi to dst, and returns
// the extended slice. The message is 40 bytes and tail, which is inside the
// message's length: TDLib and Telegram Desktop send random bytes there. The length
// of tail must be a multiple of four. nil is no tail.
func AppendReqPQ(dst []byte, nonce [16]byte, tail []byte) []byte {
	dst = appendHeader(dst, messageID(0), requestLength+len(tail))
	dst = binary.LittleEndian.AppendUint32(dst, reqPQMulti)
	dst = append(dst, nonce[:]...)
	return append(dst, tail...)
}

// CheckResPQ returns an error unless message is the resPQ of a DataCenter to a
// request with that nonce.
func CheckResPQ(message []byte, nonce [16]byte) error {
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

// appendResPQ appends the answer to a request with that nonce, a message of 84
// bytes. Android reads a packet of at most 56 bytes as a service packet.
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

// messageID returns the time in seconds and its fraction. low is the lowest two
// bits, which stand for the sender: 0 for a client, 1 for a server's answer.
func messageID(low uint64) uint64 {
	now := time.Now()
	return uint64(now.Unix())<<32 | uint64(now.Nanosecond())<<2&^3 | low
}

// openUnencrypted returns the body of an unencrypted message, which is a part of
// message.
func openUnencrypted(message []byte) ([]byte, error) {
	if len(message) < messageHeaderLength {
		return nil, fmt.Errorf("message of %d bytes, want more than %d", len(message), messageHeaderLength)
	}
	if binary.LittleEndian.Uint64(message) != 0 {
		return nil, errors.New("message is encrypted")
	}
	length := binary.LittleEndian.Uint32(message[16:])
	if uint64(length) > uint64(len(message)-messageHeaderLength) {
		return nil, fmt.Errorf("message of %d bytes declares %d bytes behind its header", len(message), length)
	}
	return message[messageHeaderLength : messageHeaderLength+int(length)], nil
}

func newNonce() (nonce [nonceLength]byte) {
	rand.Read(nonce[:]) // it does not fail
	return nonce
}
