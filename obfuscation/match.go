package obfuscation

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/multibuffer"
)

// ErrNoMatch means that the bytes are an init payload under none of the keys: the
// client is unauthenticated, or its transport is another one. A server must not
// answer it.
var ErrNoMatch = errors.New("obfuscation: no key matches the init payload")

// Match decodes an init payload for a server. It decrypts the payload with each key
// in order, or without a key if keys is empty, until the tag is one of the
// specification's. If there is none, it returns ErrNoMatch. A wrong key has a tag with a
// probability of 3 in 2^32, which with 10,000 keys would be one client in 150,000: so a
// key whose DC is no data centre's is the result only if no other key matches.
//
// An unauthenticated client costs the trial of all keys. If the processor has AVX2
// or AVX-512, and AES, Match tries 16 at a time and does not allocate; otherwise
// crypto/aes allocates half a KiB for each key.
func Match(payload *[InitLength]byte, keys [][16]byte) (Init, error) {
	var init, unlikely Init
	found := -1
	matches := func(key int, stream [aes.BlockSize]byte) bool {
		var tag [4]byte
		subtle.XORBytes(tag[:], stream[tagStart%aes.BlockSize:], payload[tagStart:dcStart])
		var ok bool
		if init.Protocol, ok = frame.ProtocolByTag(tag); !ok {
			return false
		}
		init.DC, init.Trailer = endOf(payload, &stream)
		if len(keys) == 0 || exists(init.DC) {
			return true
		}
		if found < 0 {
			found, unlikely = key, init
		}
		return false
	}
	var ok bool
	if init.Key, ok = find(payload, keys, tagStart/aes.BlockSize, matches); !ok {
		if found < 0 {
			return Init{}, ErrNoMatch
		}
		init, init.Key = unlikely, found
	}
	init.setKeyStreams(payload, keys)
	return init, nil
}

// exists reports whether dc is the number of a data centre, for any purpose, or none. The
// numbers have room for more of them than there are today.
func exists(dc datacenter.DC) bool {
	id := dc.ID()
	return id <= 10 || id == int(datacenter.CDN)
}

// FullLength is the number of bytes that MatchFull needs: the init payload, and the
// length and sequence number of the first frame.
const FullLength = InitLength + 8

// MatchFull is Match for Full inside obfuscation, which has no tag. A key matches if
// the first frame has sequence number 0 and a valid length of at most maxLength
// (see frame.LooksFull). A server that allows Full calls it after Match fails.
func MatchFull(first *[FullLength]byte, keys [][16]byte, maxLength int) (Init, error) {
	payload := (*[InitLength]byte)(first[:])
	init := Init{Protocol: frame.Full}
	matches := func(_ int, stream [aes.BlockSize]byte) bool {
		var head [FullLength - InitLength]byte
		subtle.XORBytes(head[:], stream[:], first[InitLength:])
		return frame.LooksFull(head, maxLength)
	}
	var ok bool
	if init.Key, ok = find(payload, keys, InitLength/aes.BlockSize, matches); !ok {
		return Init{}, ErrNoMatch
	}
	init.setKeyStreams(payload, keys)
	var clear [InitLength]byte
	init.Upload.StreamAt(0).XORKeyStream(clear[:], payload[:])
	init.DC, init.Trailer = datacenter.DC(binary.LittleEndian.Uint16(clear[dcStart:])), [2]byte(clear[trailer:])
	return init, nil
}

// endOf decrypts the data centre's number and the trailer. stream is the block of
// the upload key stream that covers them and the tag.
func endOf(payload *[InitLength]byte, stream *[aes.BlockSize]byte) (datacenter.DC, [2]byte) {
	var end [InitLength - dcStart]byte
	subtle.XORBytes(end[:], stream[dcStart%aes.BlockSize:], payload[dcStart:])
	return datacenter.DC(binary.LittleEndian.Uint16(end[:])), [2]byte(end[trailer-dcStart:])
}

func (i *Init) setKeyStreams(payload *[InitLength]byte, keys [][16]byte) {
	var key *[16]byte
	if i.Key >= 0 {
		key = &keys[i.Key]
	}
	i.Upload, i.Download = keyStreams(payload, key)
}

// find returns the index of the first key for which block n of the upload key stream
// matches, or -1 without keys. It computes only that block of each key stream: with
// thousands of keys, that is the cost of an unauthenticated client.
func find(payload *[InitLength]byte, keys [][16]byte, n uint64, matches func(key int, stream [aes.BlockSize]byte) bool) (index int, ok bool) {
	key := (*[keyLength]byte)(payload[keyStart:])
	counter := [ivLength]byte(payload[ivStart:])
	addCounter(&counter, n)
	if len(keys) == 0 {
		return -1, matches(-1, encrypt(key, counter))
	}
	var (
		batch   multibuffer.Batch
		digests multibuffer.Digests
		streams [multibuffer.Width][aes.BlockSize]byte
	)
	for start := 0; start < len(keys); start += multibuffer.Width {
		batch.Reset()
		for i := start; i < min(start+multibuffer.Width, len(keys)); i++ {
			batch.Add(&keys[i])
		}
		batch.SHA256(key, &digests)
		for k := range digests.EncryptAES(&counter, &streams) {
			if matches(start+k, streams[k]) {
				return start + k, true
			}
		}
	}
	return -1, false
}

// encrypt returns block encrypted in AES-256 with key.
func encrypt(key *[keyLength]byte, block [aes.BlockSize]byte) [aes.BlockSize]byte {
	cipher, err := aes.NewCipher(key[:])
	if err != nil {
		panic("internal error: " + err.Error()) // the key's length is fixed
	}
	cipher.Encrypt(block[:], block[:])
	return block
}

// addCounter adds n to a 128-bit big-endian counter.
func addCounter(counter *[aes.BlockSize]byte, n uint64) {
	low := binary.BigEndian.Uint64(counter[8:])
	high := binary.BigEndian.Uint64(counter[:8])
	if low+n < low {
		high++
	}
	binary.BigEndian.PutUint64(counter[8:], low+n)
	binary.BigEndian.PutUint64(counter[:8], high)
}
