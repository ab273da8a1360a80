package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// DefaultMaxLength is a Decoder's default limit on the length of payload and
// padding together: 16 MiB. Data centres and other servers have limits of 1 to 16
// MiB.
const DefaultMaxLength = 16 << 20

// Errors of a frame. Decoder and Encoder return them wrapped in an *Error with
// the values, except for ErrIncomplete, which is returned as it is.
var (
	// ErrIncomplete means that the buffer ends inside a packet.
	ErrIncomplete = errors.New("frame: incomplete packet")

	ErrZeroLength = errors.New("empty payload")
	ErrTooShort   = errors.New("length below the least the framing allows")
	ErrTooLong    = errors.New("length above the limit")
	ErrMisaligned = errors.New("length is not a multiple of four")
	ErrSequence   = errors.New("sequence number out of order")
	ErrChecksum   = errors.New("CRC-32 does not match")
	ErrQuickAck   = errors.New("quick ack token lacks its top bit")
	ErrProtocol   = errors.New("no such framing")
	ErrCode       = errors.New("transport error code out of range")
	ErrSide       = errors.New("only a server sends this kind of packet")
	ErrKind       = errors.New("no such kind of packet")
)

// Error is a frame that is not valid. It is final for a stream, because the start
// of the next frame is unknown.
type Error struct {
	Protocol Protocol
	Err      error // one of the sentinels above

	// Got is the invalid value: a length in bytes, a sequence number, a checksum
	// or a token. Want is the expected value, or the limit.
	Got, Want int64
}

// Error returns the framing, the reason and the values.
func (e *Error) Error() string {
	switch e.Err {
	case ErrTooLong, ErrTooShort:
		return fmt.Sprintf("%v frame: %v: %d, limit %d", e.Protocol, e.Err, e.Got, e.Want)
	case ErrMisaligned, ErrCode, ErrKind:
		return fmt.Sprintf("%v frame: %v: %d", e.Protocol, e.Err, e.Got)
	case ErrSequence:
		return fmt.Sprintf("%v frame: %v: %d, want %d", e.Protocol, e.Err, e.Got, e.Want)
	case ErrChecksum:
		return fmt.Sprintf("%v frame: %v: %08x, want %08x", e.Protocol, e.Err, uint32(e.Got), uint32(e.Want))
	case ErrQuickAck:
		return fmt.Sprintf("%v frame: %v: %08x", e.Protocol, e.Err, uint32(e.Got))
	}
	return fmt.Sprintf("%v frame: %v", e.Protocol, e.Err)
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.Err }

// Decoder parses the packets of one direction of one connection. Set the fields
// before the first Parse. It is not safe for concurrent use.
type Decoder struct {
	Protocol Protocol
	// From is the side that sent the bytes.
	From Side
	// MaxLength limits payload and padding of one packet, in bytes; 0 means
	// DefaultMaxLength. It is checked as soon as the length has arrived.
	MaxLength int

	seq uint32 // Full: the next sequence number
}

// Parse parses the packet at the front of b, whose envelope starts at b[0]. It
// returns the packet and its length in bytes, envelope included. The packet
// shares b's memory; Parse neither copies nor allocates.
//
// After ErrIncomplete, which consumes nothing, call Parse again with more bytes.
// Any other error is an *Error and final.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports
func (d *Decoder) Parse(b []byte) (p Packet, n int, err error) {
	if p.Payload, p.Padding, n = d.ParsePayload(b); n > 0 {
		return p, n, nil
	}
	// The parsers fill in the result through a pointer: returning a Packet by
	// value from each function costs more than the rest of Parse.
	switch d.Protocol {
	case Abridged:
		n, err = d.parseAbridged(b, &p)
	case Intermediate, PaddedIntermediate:
		n, err = d.parseIntermediate(b, &p)
	case Full:
		n, err = d.parseFull(b, &p)
	default:
		err = d.fail(ErrProtocol, 0, 0)
	}
	if err != nil {
		return Packet{}, 0, err
	}
	// A message has more than 20 bytes. A server's service packet has at most 19:
	// an error with the longest padding.
	if d.From == Server && p.Kind == KindPayload && len(p.Payload)+len(p.Padding) < unencryptedHeader {
		if err = d.classify(&p); err != nil {
			return Packet{}, 0, err
		}
	}
	return p, n, nil
}

// ParsePayload is a fast path of Parse for a complete payload without a request
// for an acknowledgement, in a framing other than Full. For everything else (an
// incomplete packet, an acknowledgement, an error) n is 0; call Parse then.
// ParsePayload takes a third of Parse's time, because its results fit into
// registers.
func (d *Decoder) ParsePayload(b []byte) (payload, padding []byte, n int) {
	if len(b) < 4 {
		return nil, nil, 0
	}
	word := binary.LittleEndian.Uint32(b)
	head, length := 4, int(word)
	if d.Protocol == Abridged {
		if word&0x7f < 0x7f {
			head, length = 1, int(word&0x7f)*4
		} else {
			length = int(word>>8) * 4
		}
		word <<= 24 // moves bit 7 to bit 31, where the other framings have it
	} else if d.Protocol != Intermediate && d.Protocol != PaddedIntermediate {
		return nil, nil, 0
	}
	limit := d.MaxLength
	if limit <= 0 {
		limit = DefaultMaxLength
	}
	n = head + length
	if int32(word) < 0 || length < unencryptedHeader || length > limit || n > len(b) {
		return nil, nil, 0
	}
	payload = b[head:n:n]
	if d.Protocol == PaddedIntermediate {
		message := messageLength(payload)
		return payload[:message:length], payload[message:], n
	}
	if length%4 != 0 {
		return nil, nil, 0
	}
	return payload, nil, n
}

// parseAbridged parses
//
//	short:  n          1 byte, n = words, 01..7e
//	        payload    4n bytes
//	long:   7f         1 byte
//	        n          3 bytes
//	        payload    4n bytes
//
// The bit 80 of the first byte means "ack wanted" from a client. From a server it
// marks a token of four bytes, big-endian. The long form is valid for short
// payloads too, as it is for most servers.
func (d *Decoder) parseAbridged(b []byte, p *Packet) (n int, err error) {
	if len(b) == 0 {
		return 0, ErrIncomplete
	}
	first := b[0]
	if first&0x80 != 0 {
		if d.From == Server {
			if len(b) < 4 {
				return 0, ErrIncomplete
			}
			p.Kind, p.Token = KindQuickAck, binary.BigEndian.Uint32(b)
			return 4, nil
		}
		p.AckWanted = true
		first &= 0x7f
	}
	head, length := 1, int(first)*4
	if first == 0x7f {
		if len(b) < 4 {
			return 0, ErrIncomplete
		}
		head, length = 4, int(binary.LittleEndian.Uint32(b)>>8)*4
	}
	p.Payload, err = d.body(b, head, length)
	return head + length, err
}

// parseIntermediate parses
//
//	length   4 bytes; bit 31 = ack wanted, or the whole word is a token
//	payload  length bytes, in PaddedIntermediate with padding at the end
func (d *Decoder) parseIntermediate(b []byte, p *Packet) (n int, err error) {
	if len(b) < 4 {
		return 0, ErrIncomplete
	}
	word := binary.LittleEndian.Uint32(b)
	if word&quickAckBit != 0 {
		if d.From == Server {
			// PaddedIntermediate has this form too: most proxies send a bare token.
			p.Kind, p.Token = KindQuickAck, word
			return 4, nil
		}
		p.AckWanted = true
		word &^= quickAckBit
	}
	length := int(word)
	body, err := d.body(b, 4, length)
	p.Payload = body
	if d.Protocol == PaddedIntermediate && err == nil {
		message := messageLength(body)
		p.Payload, p.Padding = body[:message], body[message:]
	}
	return 4 + length, err
}

const (
	fullHead     = 8 // length, sequence number
	crcLength    = 4
	fullOverhead = fullHead + crcLength
)

// parseFull parses
//
//	length   4 bytes, of the whole frame
//	seq      4 bytes, counted from 0 in each direction
//	payload  length - 12 bytes
//	crc      4 bytes, CRC-32 (IEEE) of all bytes before
func (d *Decoder) parseFull(b []byte, p *Packet) (n int, err error) {
	if len(b) < 4 {
		return 0, ErrIncomplete
	}
	word := binary.LittleEndian.Uint32(b)
	if code, ok := errorCode(int32(word)); ok && d.From == Server && code <= maxBareCode {
		p.Kind, p.Code, p.Payload = KindTransportError, code, b[:4:4]
		return 4, nil
	}
	// Full's lengths are signed, so bit 31 is not available for quick acks.
	length := int64(word)
	if length < fullOverhead {
		return 0, d.fail(ErrTooShort, length, fullOverhead)
	}
	if limit := int64(d.maxLength()); length-fullOverhead > limit {
		return 0, d.fail(ErrTooLong, length, limit+fullOverhead)
	}
	if length%4 != 0 {
		return 0, d.fail(ErrMisaligned, length, 0)
	}
	if len(b) < fullHead {
		return 0, ErrIncomplete
	}
	if seq := binary.LittleEndian.Uint32(b[4:]); seq != d.seq {
		return 0, d.fail(ErrSequence, int64(seq), int64(d.seq))
	}
	if int64(len(b)) < length {
		return 0, ErrIncomplete
	}
	n = int(length)
	end := n - crcLength
	if end == fullHead {
		return 0, d.fail(ErrZeroLength, length, 0)
	}
	if got, want := binary.LittleEndian.Uint32(b[end:]), crc32.ChecksumIEEE(b[:end]); got != want {
		return 0, d.fail(ErrChecksum, int64(got), int64(want))
	}
	d.seq++
	p.Payload = b[fullHead:end:end]
	return n, nil
}

// maxBareCode is the limit on error codes in place of Full's length: a data centre
// under flood has sent -429 as length, as sequence number and as body. The limit
// keeps most random bytes from being parsed as an error.
const maxBareCode = 999

// body checks a length from the first head bytes of b before it is used, and
// returns that many bytes after the head.
func (d *Decoder) body(b []byte, head, length int) ([]byte, error) {
	if uint(length-1) >= uint(d.maxLength()) {
		if length == 0 {
			return nil, d.fail(ErrZeroLength, 0, 0)
		}
		return nil, d.fail(ErrTooLong, int64(length), int64(d.maxLength()))
	}
	if d.Protocol == PaddedIntermediate {
		if length < 4 {
			return nil, d.fail(ErrTooShort, int64(length), 4)
		}
	} else if length%4 != 0 {
		return nil, d.fail(ErrMisaligned, int64(length), 0)
	}
	end := head + length
	if len(b) < end {
		return nil, ErrIncomplete
	}
	return b[head:end:end], nil
}

// classify sets the kind of a server's short packet, and the fields that belong
// to the kind.
func (d *Decoder) classify(p *Packet) error {
	body := p.Untrimmed()
	value := binary.LittleEndian.Uint32(body)
	keep := 4
	switch {
	case value == 0:
		p.Kind = KindNOP
	case value == 0xffffffff && d.Protocol == PaddedIntermediate && len(body) >= 8:
		p.Kind, p.Token, keep = KindQuickAck, binary.LittleEndian.Uint32(body[4:]), 8
		if p.Token&quickAckBit == 0 {
			return d.fail(ErrQuickAck, int64(p.Token), 0)
		}
	case int32(value) < 0:
		p.Kind = KindTransportError
		p.Code, _ = errorCode(int32(value))
	default:
		return nil
	}
	p.Payload, p.Padding = body[:keep], body[keep:]
	return nil
}

func (d *Decoder) maxLength() int {
	if d.MaxLength > 0 {
		return d.MaxLength
	}
	return DefaultMaxLength
}

func (d *Decoder) fail(err error, got, want int64) error {
	return &Error{Protocol: d.Protocol, Err: err, Got: got, Want: want}
}

// LooksFull reports whether b can be the start of a stream in Full: a valid length
// of a frame with at most maxLength bytes of payload, and sequence number 0. A
// maxLength of 0 means DefaultMaxLength.
func LooksFull(b [8]byte, maxLength int) bool {
	d := Decoder{Protocol: Full, MaxLength: maxLength}
	_, _, err := d.Parse(b[:])
	return err == ErrIncomplete
}
