package loadgen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Messages of the load generator. A message has the outer form of an encrypted
// one: an auth_key_id that is not zero, and a length of 24+16n bytes, by which a
// receiver finds and removes transport padding.
//
//	 0  8  keyID, in place of auth_key_id
//	 8  4  kind
//	12  4  stream: selects the data of a connection
//	16  8  number: its meaning depends on the kind
//	24  n  data, a part of the pattern; n is a multiple of 16
//
// All numbers are little-endian. Shape:
// https://core.telegram.org/mtproto/description#encrypted-message
const (
	keyID      = 0x01_64616f6c77746d // "mtwload" and the version
	headerSize = 24
	blockSize  = 16

	// MinLength is the length of the shortest encrypted message, which has 48
	// bytes of ciphertext. Every message without data has it.
	MinLength = headerSize + 48
	// MaxLength is the length of the longest message. Proxies that parse frames
	// accept it.
	MaxLength = headerSize + 1<<20 - 2*blockSize
)

// kind is the type of a message.
type kind uint32

const (
	kindEcho      kind = iota + 1 // both directions: the data centre returns the same message
	kindDownload                  // to the data centre: send packets of data; number is a request
	kindData                      // both directions: number counts the packets of data before it
	kindConfirm                   // to the data centre: confirm the packets of data received
	kindConfirmed                 // answer to kindConfirm: number of packets received
	kindFault                     // in place of an answer: number of the packet that is corrupt
	kindPace                      // to the data centre: number is the time between packets of data, in ns
)

// ErrCorrupt is wrapped by the error for data that differs from what was sent.
var ErrCorrupt = errors.New("bytes arrived changed")

// errForeign is the error for a message that no load generator sent.
var errForeign = errors.New("not a message of the load generator")

// message is a parsed message. data is a part of the buffer that was parsed.
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

// intact reports whether all of the data is that of the stream.
func (m *message) intact() bool {
	return len(m.data) <= maxData && bytes.Equal(m.data, patternOf(m.stream, len(m.data)))
}

// putHeader writes the header of a message to b.
func putHeader(b []byte, k kind, stream uint32, number uint64) {
	binary.LittleEndian.PutUint64(b, keyID)
	binary.LittleEndian.PutUint32(b[8:], uint32(k))
	binary.LittleEndian.PutUint32(b[12:], stream)
	binary.LittleEndian.PutUint64(b[16:], number)
}

// fill returns a packet of data with the given length: buffer itself if it already
// is one of that stream. Packets of a stream differ in their number only, so
// sending the next one copies no data.
func fill(buffer []byte, stream uint32, length int) []byte {
	if len(buffer) == length && binary.LittleEndian.Uint32(buffer[12:]) == stream {
		return buffer
	}
	buffer = make([]byte, length)
	putHeader(buffer, kindData, stream, 0)
	copy(buffer[headerSize:], patternOf(stream, length-headerSize))
	return buffer
}

// request is the number in a message of kindDownload: packets, and their length in
// bytes.
type request struct{ packets, length uint32 }

func (r request) number() uint64 { return uint64(r.packets)<<32 | uint64(r.length) }

// parseRequest returns an error for a length that is not valid, before memory is
// allocated for it.
func parseRequest(number uint64) (request, error) {
	r := request{packets: uint32(number >> 32), length: uint32(number)}
	return r, CheckPacketSize(int(min(r.length, MaxLength+1)))
}

// maxPace is the longest time between packets of data: a session that waits does
// not notice the end of its connection.
const maxPace = time.Second

// parsePace returns the time between packets of data that a message of kindPace
// asks for.
func parsePace(number uint64) (time.Duration, error) {
	if number > uint64(maxPace) {
		return 0, fmt.Errorf("%d ns between packets", number)
	}
	return time.Duration(number), nil
}

// CheckPacketSize returns an error unless messages can have that length, in bytes.
func CheckPacketSize(length int) error {
	if length < MinLength || length > MaxLength || (length-headerSize)%blockSize != 0 {
		return fmt.Errorf("packet size %d: want %d to %d, and %d plus a multiple of 16",
			length, MinLength, MaxLength, headerSize)
	}
	return nil
}

// RoundPacketSize returns the greatest valid length of a message that is at most n,
// or MinLength.
func RoundPacketSize(n int) int {
	n = min(max(n, MinLength), MaxLength)
	return n - (n-headerSize)%blockSize
}

const (
	maxData = MaxLength - headerSize
	// starts is the number of offsets in the pattern at which the data of a stream
	// can begin.
	starts = 4096
)

// pattern returns the pseudorandom bytes that client and data centre share. They
// must not be changed.
var pattern = sync.OnceValue(func() []byte {
	b := make([]byte, maxData+starts*blockSize)
	rand.NewChaCha8([32]byte([]byte("bytes that both ends of it know."))).Read(b)
	return b
})

// patternOf returns the data of a stream, n bytes, at most maxData. Two streams have
// the same data with probability 1/starts.
func patternOf(stream uint32, n int) []byte {
	start := int(stream%starts) * blockSize
	return pattern()[start : start+n]
}
