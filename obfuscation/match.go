package obfuscation

import (
	"crypto/aes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/mtwire/mtwire/frame"
)

// ErrNoMatch means that no secret turns the bytes into an init payload: a
// stranger, a wrong secret, or something else than obfuscation. The answer to
// it is silence.
var ErrNoMatch = errors.New("obfuscation: no secret matches the init payload")

// Hello is what a server learns from an init payload.
type Hello struct {
	// Protocol is the framing of the stream that follows.
	Protocol frame.Protocol

	// DC is the data centre asked for. Clients without a proxy secret may
	// leave random bytes in its place.
	DC DC

	// Secret is the index of the one that matched, or -1 if none is in use.
	Secret int

	// Download is the key stream of the answers, secret mixed in.
	Download KeyStream
}

// Match reads an init payload as a server does: it tries each secret, or the
// bare keys if there are none, until a tag of the specification appears. The
// streams stand behind the init payload: Receive has consumed 64 bytes, Send
// none.
//
// A wrong secret passes by accident three times in 2^32. With none that
// passes it returns ErrNoMatch.
func Match(init *[InitLength]byte, secrets []Secret) (Hello, Streams, error) {
	if len(secrets) == 0 {
		if h, s, ok := match(init, nil); ok {
			h.Secret = -1
			return h, s, nil
		}
	}
	for i := range secrets {
		if h, s, ok := match(init, &secrets[i]); ok {
			h.Secret = i
			return h, s, nil
		}
	}
	return Hello{}, Streams{}, ErrNoMatch
}

// match tries one secret. It decrypts no more than the block that has the tag
// in it: with thousands of secrets, that is what a stranger costs.
func match(init *[InitLength]byte, secret *Secret) (h Hello, s Streams, ok bool) {
	tail := lastBlock(init, secret)
	h.Protocol, ok = frame.ProtocolByTag([4]byte(tail[tagStart-lastBlockStart:]))
	if !ok {
		return Hello{}, Streams{}, false
	}
	h.DC = DC(binary.LittleEndian.Uint16(tail[dcStart-lastBlockStart:]))
	s = open(init, secret, &h)
	return h, s, true
}

const lastBlockStart = InitLength - aes.BlockSize

// lastBlock decrypts bytes 48..64.
func lastBlock(init *[InitLength]byte, secret *Secret) (tail [aes.BlockSize]byte) {
	key := [keyLength]byte(init[keyStart:])
	if secret != nil {
		var b [keyLength + len(secret.Key)]byte
		copy(b[:], key[:])
		copy(b[keyLength:], secret.Key[:])
		key = sha256.Sum256(b[:])
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("internal error: " + err.Error())
	}
	counter := [aes.BlockSize]byte(init[ivStart:])
	addCounter(&counter, lastBlockStart/aes.BlockSize)
	block.Encrypt(tail[:], counter[:])
	for i := range tail {
		tail[i] ^= init[lastBlockStart+i]
	}
	return tail
}

// addCounter adds n to a big-endian counter.
func addCounter(counter *[aes.BlockSize]byte, n uint64) {
	low := binary.BigEndian.Uint64(counter[8:])
	high := binary.BigEndian.Uint64(counter[:8])
	if low+n < low {
		high++
	}
	binary.BigEndian.PutUint64(counter[8:], low+n)
	binary.BigEndian.PutUint64(counter[:8], high)
}

// open starts the server's streams behind an init payload that matched.
func open(init *[InitLength]byte, secret *Secret, h *Hello) Streams {
	upload, download := keyStreams(init, secret)
	h.Download = download
	s := Streams{Send: download.stream(), Receive: upload.stream()}
	var skip [InitLength]byte
	s.Receive.XORKeyStream(skip[:], skip[:])
	return s
}

// FullLength is how many bytes MatchFull looks at: the init payload, and the
// length and sequence number of the first frame.
const FullLength = InitLength + 8

// MatchFull is Match for Full inside obfuscation, which has no tag: what must
// fit instead is the first frame's length, at most maxLength with its payload,
// and its sequence number 0. Use it where Full was asked for by name, after
// Match has failed. The streams stand behind the 64 bytes.
func MatchFull(first *[FullLength]byte, secrets []Secret, maxLength int) (Hello, Streams, error) {
	try := func(index int, secret *Secret) (h Hello, s Streams, ok bool) {
		init := [InitLength]byte(first[:])
		upload, _ := keyStreams(&init, secret)
		var clear [FullLength]byte
		upload.stream().XORKeyStream(clear[:], first[:])
		if !frame.LooksFull([8]byte(clear[InitLength:]), maxLength) {
			return h, s, false
		}
		h = Hello{Protocol: frame.Full, Secret: index, DC: DC(binary.LittleEndian.Uint16(clear[dcStart:]))}
		s = open(&init, secret, &h)
		return h, s, true
	}
	if len(secrets) == 0 {
		if h, s, ok := try(-1, nil); ok {
			return h, s, nil
		}
	}
	for i := range secrets {
		if h, s, ok := try(i, &secrets[i]); ok {
			return h, s, nil
		}
	}
	return Hello{}, Streams{}, ErrNoMatch
}
