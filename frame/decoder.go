package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// DefaultMaxLength is the longest packet a Decoder takes unless told
// otherwise: 16 MiB, payload and padding together. Data centres and other
// servers stop at 1 to 16 MiB.
const DefaultMaxLength = 16 << 20

// What can be wrong with a frame. They come wrapped in an *Error, which
// carries the numbers. Only ErrIncomplete stands alone.
var (
	// ErrIncomplete means that the buffer ends before the packet does.
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
)

// Error says what is wrong with a frame. A stream is of no use after it: where
// the next frame starts is not known.
type Error struct {
	Protocol Protocol
	Err      error // one of the sentinels above

	// Got is the value found: a length in bytes, a sequence number, a
	// checksum, a token. Want is what it should have been, or the limit.
	Got, Want int64
}

func (e *Error) Error() string {
	switch e.Err {
	case ErrTooLong, ErrTooShort:
		return fmt.Sprintf("%v frame: %v: %d, limit %d", e.Protocol, e.Err, e.Got, e.Want)
	case ErrMisaligned, ErrCode:
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

// Decoder cuts packets from the bytes of one direction of one connection. Set
// the fields before the first Parse. It is not safe for concurrent use.
type Decoder struct {
	Protocol Protocol
	// From is the side that sent the bytes.
	From Side
	// MaxLength limits payload and padding of one packet, in bytes; 0 means
	// DefaultMaxLength. It is checked as soon as the length has arrived.
	MaxLength int

	seq uint32 // Full: the next sequence number
}

// Parse reads the packet at the front of b, whose envelope starts at b[0], and
// returns it with the number of bytes it took, envelope included. The packet
// shares b's memory; nothing is copied or allocated.
//
// ErrIncomplete means that b must grow, and nothing was consumed. Any other
// error is an *Error and final.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports
func (d *Decoder) Parse(b []byte) (p Packet, n int, err error) {
	if p.Payload, p.Padding, n = d.ParsePayload(b); n > 0 {
		return p, n, nil
	}
	// The packet is filled in where it is returned from: handing it from
	// function to function by value costs more than all the rest.
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
	// The shortest message has more than 20 bytes; a server's service packet
	// at most 19, an error with the longest padding.
	if d.From == Server && p.Kind == KindPayload && len(p.Payload)+len(p.Padding) < unencryptedHeader {
		if err = d.classify(&p); err != nil {
			return Packet{}, 0, err
		}
	}
	return p, n, nil
}

// ParsePayload is Parse for what nearly all packets are: a whole payload, with
// no acknowledgement wanted, in a framing other than Full. For anything else,
// be it a packet that is not whole, an acknowledgement or an error, n is 0, and
// Parse knows what it is. It takes a third of Parse's time, because its results
// fit into registers.
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
		word <<= 24 // its bit 7 is what bit 31 is to the others
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

// parseAbridged reads
//
//	short:  n          1 byte, n = words, 01..7e
//	        payload    4n bytes
//	long:   7f         1 byte
//	        n          3 bytes
//	        payload    4n bytes
//
// with 80 in the first byte for "ack wanted", or four bytes big-endian with
// that bit set for a token. The long form is taken for short payloads too, as
// most servers do.
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

// parseIntermediate reads
//
//	length   4 bytes; bit 31 = ack wanted, or the whole word is a token
//	payload  length bytes, of which PaddedIntermediate's end is random
func (d *Decoder) parseIntermediate(b []byte, p *Packet) (n int, err error) {
	if len(b) < 4 {
		return 0, ErrIncomplete
	}
	word := binary.LittleEndian.Uint32(b)
	if word&quickAckBit != 0 {
		if d.From == Server {
			// In PaddedIntermediate too: most proxies send the token bare.
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

// parseFull reads
//
//	length   4 bytes, of the whole frame
//	seq      4 bytes, counted from 0 in each direction
//	payload  length - 12 bytes
//	crc      4 bytes, CRC-32 (IEEE) of all before it
func (d *Decoder) parseFull(b []byte, p *Packet) (n int, err error) {
	if len(b) < 4 {
		return 0, ErrIncomplete
	}
	word := binary.LittleEndian.Uint32(b)
	if code, ok := errorCode(int32(word)); ok && d.From == Server && code <= maxBareCode {
		p.Kind, p.Code, p.Payload = KindTransportError, code, b[:4:4]
		return 4, nil
	}
	// A length is signed in Full, with no bit to spare.
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

// maxBareCode bounds the error codes that Full takes from a negative length:
// a data centre under flood has sent -429 as length, sequence number and body
// at once. A length of random bytes should not pass for one.
const maxBareCode = 999

// body checks a length that was read from the first head bytes of b, before
// anything is sized by it, and returns that many bytes behind the head.
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

// classify tells what a server's short packet says.
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

// LooksFull says whether b can open a stream in Full: a length that a frame of
// at most maxLength bytes of payload has, and sequence number 0. A maxLength
// of 0 means DefaultMaxLength.
func LooksFull(b [8]byte, maxLength int) bool {
	d := Decoder{Protocol: Full, MaxLength: maxLength}
	_, _, err := d.Parse(b[:])
	return err == ErrIncomplete
}
