package mtwiretest

import (
	"crypto/aes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mtwire/mtwire/frame"
)

// AuthKey is the auth key that the data centre shares with clients that use Seal
// and Open, without a key exchange: encrypted messages and their quick
// acknowledgements need one. It is public and constant.
var AuthKey = func() (key [frame.AuthKeyLength]byte) {
	for i := range key {
		key[i] = byte(i)
	}
	return key
}()

const (
	encryptedHeaderLength = 24 // auth_key_id, msg_key
	innerHeaderLength     = 32 // salt, session, message id, sequence number, length
	minPadding            = 12
	maxPadding            = 1024
)

// authKeyID returns the low 64 bits of the SHA-1 of AuthKey.
func authKeyID() uint64 {
	sum := sha1.Sum(AuthKey[:])
	return binary.LittleEndian.Uint64(sum[12:])
}

// Seal encrypts data under AuthKey as a message of MTProto 2.0. The length of data
// must be a multiple of four. from is the side that sends the message. token is
// the quick acknowledgement that a server returns for the message, if the client
// requests one.
//
// Specification: https://core.telegram.org/mtproto/description#defining-aes-key-and-initialization-vector
func Seal(data []byte, from frame.Side) (message []byte, token uint32) {
	low := uint64(0)
	if from == frame.Server {
		low = 1
	}
	padding := minPadding + -(innerHeaderLength+len(data)+minPadding)&15
	plain := make([]byte, innerHeaderLength+len(data)+padding)
	rand.Read(plain) // salt, session and padding
	binary.LittleEndian.PutUint64(plain[16:], messageID(low))
	binary.LittleEndian.PutUint32(plain[24:], 1)
	binary.LittleEndian.PutUint32(plain[28:], uint32(len(data)))
	copy(plain[innerHeaderLength:], data)

	token = frame.QuickAckToken(AuthKey[:], plain, from)
	key := messageKey(plain, from)
	message = binary.LittleEndian.AppendUint64(nil, authKeyID())
	message = append(message, key[:]...)
	return append(message, ige(plain, key, from, true)...), token
}

var (
	errUnknownKey = errors.New("unknown auth key")
	errTampered   = errors.New("message does not match its key")
)

// Open decrypts a message that Seal encrypted with the same from. Up to 15 bytes
// of transport padding may follow the message. It returns the data in memory of
// its own, and the quick acknowledgement of the message. An error is returned for
// a message that is too short, under another key or changed.
func Open(message []byte, from frame.Side) (data []byte, token uint32, err error) {
	if len(message) < encryptedHeaderLength+innerHeaderLength+16 {
		return nil, 0, fmt.Errorf("encrypted message of %d bytes is too short", len(message))
	}
	if binary.LittleEndian.Uint64(message) != authKeyID() {
		return nil, 0, errUnknownKey
	}
	key := [16]byte(message[8:])
	body := message[encryptedHeaderLength:]
	plain := ige(body[:len(body)&^15], key, from, false)
	if messageKey(plain, from) != key {
		return nil, 0, errTampered
	}
	length := int(binary.LittleEndian.Uint32(plain[28:]))
	padding := len(plain) - innerHeaderLength - length
	if length%4 != 0 || padding < minPadding || padding > maxPadding {
		return nil, 0, fmt.Errorf("message of %d bytes declares %d bytes of data", len(plain), length)
	}
	return plain[innerHeaderLength : innerHeaderLength+length], frame.QuickAckToken(AuthKey[:], plain, from), nil
}

// offset returns the index in the auth key at which the parts for one direction
// begin.
func offset(from frame.Side) int {
	if from == frame.Server {
		return 8
	}
	return 0
}

func messageKey(plain []byte, from frame.Side) [16]byte {
	x := offset(from)
	sum := sha256.Sum256(append(append([]byte(nil), AuthKey[88+x:120+x]...), plain...))
	return [16]byte(sum[8:])
}

// ige encrypts or decrypts in with AES-256 in infinite garble extension (IGE), key
// and vector derived from the message key. The result is in memory of its own.
func ige(in []byte, messageKey [16]byte, from frame.Side, encrypt bool) []byte {
	x := offset(from)
	a := sha256.Sum256(append(append([]byte(nil), messageKey[:]...), AuthKey[x:x+36]...))
	b := sha256.Sum256(append(append([]byte(nil), AuthKey[40+x:76+x]...), messageKey[:]...))
	var key, iv [32]byte
	copy(key[:8], a[:8])
	copy(key[8:24], b[8:24])
	copy(key[24:], a[24:])
	copy(iv[:8], b[:8])
	copy(iv[8:24], a[8:24])
	copy(iv[24:], b[24:])

	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("internal error: " + err.Error())
	}
	crypt := block.Encrypt
	previousOut, previousIn := iv[:16], iv[16:]
	if !encrypt {
		crypt = block.Decrypt
		previousOut, previousIn = previousIn, previousOut
	}
	out := make([]byte, len(in))
	for i := 0; i < len(in); i += 16 {
		src, dst := in[i:i+16], out[i:i+16]
		for j := range dst {
			dst[j] = src[j] ^ previousOut[j]
		}
		crypt(dst, dst)
		for j := range dst {
			dst[j] ^= previousIn[j]
		}
		previousOut, previousIn = dst, src
	}
	return out
}
