package loadgen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
)

// A message looks like an encrypted one from outside: an auth key's id that is
// not zero, and a length of 24+16n, so that whoever removes padding by that
// removes the right amount.
//
//	 0  8  keyID, in place of an auth key's id
//	 8  4  kind
//	12  4  stream: whose data follows
//	16  8  number: what it counts depends on the kind
//	24  n  data, a piece of the pattern; n is a multiple of 16
//
// All numbers are little-endian. Shape:
// https://core.telegram.org/mtproto/description#encrypted-message
const (
	keyID      = 0x01_64616f6c77746d // "mtwload" and a version
	headerSize = 24
	blockSize  = 16

	// MinPacket is the length of the shortest message that can be an
	// encrypted one: 48 bytes of text. Everything but data has it.
	MinPacket = headerSize + 48
	// MaxPacket is the length of the longest message, within what proxies
	// that parse frames let through.
	MaxPacket = headerSize + 1<<20 - 2*blockSize
)

// kind says what a message is.
type kind uint32

const (
	echo      kind = iota + 1 // either way: the same comes back
	download                  // to the data centre: send packets; number is how many, and their length
	data                      // either way: number is its place in the connection's sequence
	confirm                   // to the data centre: how much data has come?
	confirmed                 // the answer: number is how many packets
	fault                     // in place of an answer: number is the packet that is not what was sent
)

// ErrCorrupt is what an error wraps when something else arrived than was sent.
var ErrCorrupt = errors.New("bytes arrived changed")

// errForeign means that the other end is not one of ours.
var errForeign = errors.New("not a message of the load generator")

// message is one that has been read. Its data belongs to the buffer it came
// from.
type message struct {
	kind   kind
	stream uint32
	number uint64
	data   []byte
}

func parseMessage(b []byte) (message, error) {
	if len(b) < headerSize || binary.LittleEndian.Uint64(b) != keyID {
		return message{}, errForeign
	}
	return message{
		kind:   kind(binary.LittleEndian.Uint32(b[8:])),
		stream: binary.LittleEndian.Uint32(b[12:]),
		number: binary.LittleEndian.Uint64(b[16:]),
		data:   b[headerSize:],
	}, nil
}

// intact says whether the data is the stream's, all of it.
func (m *message) intact() bool {
	return len(m.data) <= maxData && bytes.Equal(m.data, patternOf(m.stream, len(m.data)))
}

// putHeader writes all of a message but its data.
func putHeader(b []byte, k kind, stream uint32, number uint64) {
	binary.LittleEndian.PutUint64(b, keyID)
	binary.LittleEndian.PutUint32(b[8:], uint32(k))
	binary.LittleEndian.PutUint32(b[12:], stream)
	binary.LittleEndian.PutUint64(b[16:], number)
}

// fill makes a message of one length, which keeps its data while its header
// changes: packets of one stream differ in their number only, and sending them
// copies nothing.
func fill(buffer []byte, stream uint32, length int) []byte {
	if len(buffer) == length && binary.LittleEndian.Uint32(buffer[12:]) == stream {
		return buffer
	}
	buffer = make([]byte, length)
	putHeader(buffer, data, stream, 0)
	copy(buffer[headerSize:], patternOf(stream, length-headerSize))
	return buffer
}

// demand is the number of a request to send: packets of a length.
type demand struct{ packets, length uint32 }

func (d demand) number() uint64 { return uint64(d.packets)<<32 | uint64(d.length) }

// parseDemand refuses a length for which no memory should be taken.
func parseDemand(number uint64) (demand, error) {
	d := demand{packets: uint32(number >> 32), length: uint32(number)}
	return d, CheckPacketSize(int(min(d.length, MaxPacket+1)))
}

// CheckPacketSize says whether messages can have that length, in bytes.
func CheckPacketSize(length int) error {
	if length < MinPacket || length > MaxPacket || (length-headerSize)%blockSize != 0 {
		return fmt.Errorf("packets of %d bytes: want %d to %d, and 16 times something and %d",
			length, MinPacket, MaxPacket, headerSize)
	}
	return nil
}

// RoundPacketSize is the greatest length of a message that is no more than n,
// within the limits.
func RoundPacketSize(n int) int {
	n = min(max(n, MinPacket), MaxPacket)
	return n - (n-headerSize)%blockSize
}

const (
	maxData = MaxPacket - headerSize
	// starts is in how many places of the pattern a stream's data may begin.
	starts = 4096
)

// pattern is random bytes that both ends know. It is made when first needed,
// and never changed.
var pattern = sync.OnceValue(func() []byte {
	b := make([]byte, maxData+starts*blockSize)
	rand.NewChaCha8([32]byte([]byte("bytes that both ends of it know."))).Read(b)
	return b
})

// patternOf is the data of a stream: n bytes at most maxData. Two streams
// seldom have the same.
func patternOf(stream uint32, n int) []byte {
	start := int(stream%starts) * blockSize
	return pattern()[start : start+n]
}
