package obfuscation

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/manykeys"
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

	// Upload and Download are the key streams of what the client sends and of
	// the answers, secret mixed in. The init payload has used up the first 64
	// bytes of Upload.
	Upload, Download KeyStream
}

// Match reads an init payload as a server does: it tries each secret, or the
// bare keys if there are none, until a tag of the specification appears. The
// streams stand behind the init payload: Receive has consumed 64 bytes, Send
// none.
//
// A wrong secret passes by accident three times in 2^32. With none that
// passes it returns ErrNoMatch.
//
// A stranger costs the trial of all secrets. Where the processor has AVX2 or
// AVX-512, and AES, they are tried 16 at a time and no memory is allocated
// until one passes; elsewhere crypto/aes allocates half a KiB for each.
func Match(init *[InitLength]byte, secrets []Secret) (Hello, Streams, error) {
	var h Hello
	fits := func(stream [aes.BlockSize]byte) (ok bool) {
		var tag [4]byte
		subtle.XORBytes(tag[:], stream[tagStart%aes.BlockSize:], init[tagStart:dcStart])
		h.Protocol, ok = frame.ProtocolByTag(tag)
		return ok
	}
	return h.match(init, secrets, tagStart/aes.BlockSize, fits)
}

// FullLength is how many bytes MatchFull looks at: the init payload, and the
// length and sequence number of the first frame.
const FullLength = InitLength + 8

// MatchFull is Match for Full inside obfuscation, which has no tag: what must
// fit instead is the first frame's length, at most maxLength with its payload,
// and its sequence number 0. Use it where Full was asked for by name, after
// Match has failed. The streams stand behind the 64 bytes.
func MatchFull(first *[FullLength]byte, secrets []Secret, maxLength int) (Hello, Streams, error) {
	h := Hello{Protocol: frame.Full}
	fits := func(stream [aes.BlockSize]byte) bool {
		var head [FullLength - InitLength]byte
		subtle.XORBytes(head[:], stream[:], first[InitLength:])
		return frame.LooksFull(head, maxLength)
	}
	return h.match((*[InitLength]byte)(first[:]), secrets, InitLength/aes.BlockSize, fits)
}

// match looks for the secret whose key stream fits, in its block n, and opens
// the streams with it.
func (h *Hello) match(init *[InitLength]byte, secrets []Secret, n uint64, fits func(stream [aes.BlockSize]byte) bool) (Hello, Streams, error) {
	var ok bool
	if h.Secret, ok = find(init, secrets, n, fits); !ok {
		return Hello{}, Streams{}, ErrNoMatch
	}
	var secret *Secret
	if h.Secret >= 0 {
		secret = &secrets[h.Secret]
	}
	s := h.open(init, secret)
	return *h, s, nil
}

// find returns the index of the first secret whose upload key stream fits, -1
// for none in use. It makes no more of a stream than the block to be looked
// at: with thousands of secrets, that is what a stranger costs.
func find(init *[InitLength]byte, secrets []Secret, n uint64, fits func(stream [aes.BlockSize]byte) bool) (index int, ok bool) {
	key := (*[keyLength]byte)(init[keyStart:])
	counter := [ivLength]byte(init[ivStart:])
	addCounter(&counter, n)
	if len(secrets) == 0 {
		return -1, fits(encrypt(key, counter))
	}
	var (
		group   manykeys.Group
		sums    manykeys.Sums
		streams [manykeys.Width][aes.BlockSize]byte
	)
	for start := 0; start < len(secrets); start += manykeys.Width {
		group.Reset()
		for i := start; i < min(start+manykeys.Width, len(secrets)); i++ {
			group.Add(&secrets[i].Key)
		}
		group.Digest(key, &sums)
		for k := range sums.EncryptAES(&counter, &streams) {
			if fits(streams[k]) {
				return start + k, true
			}
		}
	}
	return -1, false
}

// encrypt returns block, encrypted with key.
func encrypt(key *[keyLength]byte, block [aes.BlockSize]byte) [aes.BlockSize]byte {
	cipher, err := aes.NewCipher(key[:])
	if err != nil {
		panic("internal error: " + err.Error()) // the key's length is fixed
	}
	cipher.Encrypt(block[:], block[:])
	return block
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

// open starts the server's streams behind an init payload that matched, and
// reads the rest of it.
func (h *Hello) open(init *[InitLength]byte, secret *Secret) Streams {
	h.Upload, h.Download = keyStreams(init, secret)
	s := Streams{Send: h.Download.StreamAt(0), Receive: h.Upload.StreamAt(0)}
	var clear [InitLength]byte
	s.Receive.XORKeyStream(clear[:], init[:])
	h.DC = DC(binary.LittleEndian.Uint16(clear[dcStart:]))
	return s
}
