package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	// maxAbridgedLength is the longest payload whose number of words has three
	// bytes.
	maxAbridgedLength = (1<<24 - 1) * 4
	// maxWireLength leaves bit 31 of a length free, and leaves room for an
	// envelope.
	maxWireLength = 1<<31 - 1 - 64
)

// Encoder encodes the packets of one direction of one connection. Set the fields
// before the first Append. It is not safe for concurrent use.
type Encoder struct {
	Protocol Protocol
	// From is the side that sends the packets.
	From Side
	// Rand is the source of padding. Default: the runtime's generator.
	Rand io.Reader

	seq uint32 // Full: the next sequence number
	env Envelope
}

// Append appends p in its envelope to dst and returns the extended slice. It
// copies the payload and does not modify it. On error it returns dst unchanged
// and does not advance the sequence number, so the Encoder remains usable.
//
// Append never adds the protocol's header (Protocol.Header), which a client sends
// once.
//
// If From is Server, AckWanted is ignored: a server may forward a client's packet
// to another client.
//
// Errors are *Error: ErrZeroLength, ErrMisaligned, ErrTooLong, ErrCode,
// ErrQuickAck, ErrNoQuickAck, ErrSide, ErrKind, ErrProtocol; or an error of Rand.
func (e *Encoder) Append(dst []byte, p Packet) ([]byte, error) {
	env, err := e.surround(&p)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, env.Head()...)
	dst = append(dst, env.Body(&p)...)
	dst = append(dst, env.Tail(&p)...)
	if e.Protocol == Full {
		// One pass over the contiguous frame is faster than two over its parts.
		end := len(dst) - crcLength
		binary.LittleEndian.PutUint32(dst[end:], crc32.ChecksumIEEE(dst[start:end]))
	}
	return dst, nil
}

// Envelope has the bytes around one payload on the wire, for callers that encrypt
// while they copy and therefore need the parts of a frame separately. It is a part of its
// Encoder, and not safe for concurrent use either.
type Envelope struct {
	head [8]byte  // length and, in Full, sequence number
	body [8]byte  // a service packet's payload
	tail [16]byte // padding or checksum

	headLength, bodyLength, tailLength uint8
	ownTail                            bool // the packet has its padding already
	bare                               bool // a token without a frame
}

// Head returns the bytes before the payload.
func (env *Envelope) Head() []byte { return env.head[:env.headLength] }

// Body returns p's payload, or the encoding of a service packet.
func (env *Envelope) Body(p *Packet) []byte {
	switch {
	case env.bare:
		return nil
	case env.bodyLength != 0:
		return env.body[:env.bodyLength]
	}
	return p.Payload
}

// Tail returns the bytes after the payload.
func (env *Envelope) Tail(p *Packet) []byte {
	if env.ownTail {
		return p.Padding
	}
	return env.tail[:env.tailLength]
}

// Envelope returns the envelope of p: send Head, Body and Tail, in this order and
// with nothing in between. It advances the sequence number. The Envelope is valid
// until the next call and keeps no reference to p. Errors are those of Append.
func (e *Encoder) Envelope(p *Packet) (*Envelope, error) {
	env, err := e.surround(p)
	if err == nil && e.Protocol == Full {
		crc := crc32.Update(crc32.ChecksumIEEE(env.Head()), crc32.IEEETable, env.Body(p))
		binary.LittleEndian.PutUint32(env.tail[:], crc)
	}
	return env, err
}

// surround is Envelope without the checksum of Full.
func (e *Encoder) surround(p *Packet) (*Envelope, error) {
	env := &e.env
	env.headLength, env.bodyLength, env.tailLength, env.ownTail, env.bare = 0, 0, 0, false, false
	body := p.Payload
	switch {
	case p.Kind != KindPayload && e.From == Client:
		return nil, e.fail(ErrSide, 0, 0)
	case p.AckWanted && e.Protocol == Full && e.From == Client:
		return nil, e.fail(ErrNoQuickAck, 0, 0)
	case p.Kind != KindPayload:
		var err error
		if body, err = e.service(env, p); err != nil {
			return nil, err
		}
		if env.bare {
			return env, nil
		}
	}
	length := len(body)
	if length == 0 {
		return nil, e.fail(ErrZeroLength, 0, 0)
	}
	if length%4 != 0 {
		return nil, e.fail(ErrMisaligned, int64(length), 0)
	}
	limit := maxWireLength
	if e.Protocol == Abridged {
		limit = maxAbridgedLength
	}
	if length > limit || len(p.Padding) > limit-length {
		return nil, e.fail(ErrTooLong, int64(length)+int64(len(p.Padding)), int64(limit))
	}
	ack := uint32(0)
	if p.AckWanted && e.From == Client {
		ack = quickAckBit
	}

	switch e.Protocol {
	case Abridged:
		if words := uint32(length / 4); words < 0x7f {
			env.head[0], env.headLength = byte(words)|byte(ack>>24), 1
		} else {
			binary.LittleEndian.PutUint32(env.head[:], words<<8|0x7f|ack>>24)
			env.headLength = 4
		}
	case PaddedIntermediate:
		switch {
		case p.Padding != nil:
			env.ownTail = true
			length += len(p.Padding)
		case p.Kind == KindTransportError:
			// mtcute and gotd recognize an error by its length of four.
		default:
			pad, err := drawPadding(e.Rand, e.From, &env.tail)
			if err != nil {
				return nil, fmt.Errorf("frame: padding: %w", err)
			}
			env.tailLength = uint8(pad)
			length += pad
		}
		fallthrough
	case Intermediate:
		binary.LittleEndian.PutUint32(env.head[:], uint32(length)|ack)
		env.headLength = 4
	case Full:
		binary.LittleEndian.PutUint32(env.head[:], uint32(length+fullOverhead))
		binary.LittleEndian.PutUint32(env.head[4:], e.seq)
		e.seq++
		env.headLength, env.tailLength = fullHead, crcLength
	default:
		return nil, e.fail(ErrProtocol, 0, 0)
	}
	return env, nil
}

// service encodes p, a service packet, in env.body and returns it. In Abridged
// (byte-swapped) and Intermediate, a quick acknowledgement has no frame: it is in
// env.head instead. In PaddedIntermediate it follows ffffffff in a frame.
func (e *Encoder) service(env *Envelope, p *Packet) ([]byte, error) {
	switch p.Kind {
	case KindNOP:
		clear(env.body[:4]) // env is reused
		env.bodyLength = 4
	case KindTransportError:
		if p.Code == 0 || p.Code > 1<<31 {
			return nil, e.fail(ErrCode, int64(p.Code), 0)
		}
		binary.LittleEndian.PutUint32(env.body[:], errorValue(p.Code))
		env.bodyLength = 4
	case KindQuickAck:
		if p.Token&quickAckBit == 0 {
			return nil, e.fail(ErrQuickAck, int64(p.Token), 0)
		}
		switch e.Protocol {
		case Abridged:
			binary.BigEndian.PutUint32(env.head[:], p.Token)
			env.headLength, env.bare = 4, true
		case Intermediate:
			binary.LittleEndian.PutUint32(env.head[:], p.Token)
			env.headLength, env.bare = 4, true
		case PaddedIntermediate:
			binary.LittleEndian.PutUint32(env.body[:], 0xffffffff)
			binary.LittleEndian.PutUint32(env.body[4:], p.Token)
			env.bodyLength = 8
		default:
			return nil, e.fail(ErrNoQuickAck, 0, 0)
		}
	default:
		return nil, e.fail(ErrKind, int64(p.Kind), 0)
	}
	return env.body[:env.bodyLength], nil
}

func (e *Encoder) fail(err error, got, want int64) error {
	return &Error{Protocol: e.Protocol, Err: err, Got: got, Want: want}
}
