// Package wsstream is WebSockets whose reads may end at any byte, and go on there.
//
// For a client it is a byte stream that a relay can copy: a deadline may end any Read, in
// the middle of a frame as well; Close and CloseWrite do not wait for the peer. For a
// server it is messages, of which an idle connection has no buffer.
//
//	frame.go     headers of frames, masking. No I/O
//	conn.go      Conn, a client's
//	upgrade.go   its HTTP request, and the answer
//	messages.go  messages out of a client's frames. No I/O
//	server.go    Server
//	accept.go    its answer to the HTTP request
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455
package wsstream

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

// The opcodes of frames.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-5.2
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	final     = 0x80
	masked    = 0x80
	keyLength = 4
	// maxHeader is the length of a header with a length of eight bytes, and a key.
	maxHeader = 2 + 8 + keyLength
	// maxControl is the maximum payload of a control frame.
	maxControl = 125
)

// ErrFrame means that the peer has sent what none may send.
var ErrFrame = errors.New("bad WebSocket frame")

// ErrText means that the peer has sent a text message. It is an ErrFrame.
var ErrText = badFrame("a text message")

func badFrame(what string) error { return fmt.Errorf("%w: %s", ErrFrame, what) }

// appendFrame appends a client's frame with its payload.
func appendFrame(dst []byte, opcode byte, payload []byte) []byte {
	var key [keyLength]byte
	rand.Read(key[:])
	dst = append(appendHeader(dst, opcode, masked, len(payload)), key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	mask(dst[start:], key)
	return dst
}

// appendHeader appends the header of a frame with a payload of n bytes, up to the key.
// flag is masked in a client's frame.
//
//	byte 0      final flag 80, opcode
//	byte 1      mask flag 80, length 0..125, or 126 / 127
//	            2 or 8 more bytes of length, big-endian, after 126 / 127
//	            4 bytes of key, in a client's frame
//	            payload, XORed with the key
func appendHeader(dst []byte, opcode, flag byte, n int) []byte {
	dst = append(dst, final|opcode)
	switch {
	case n <= maxControl:
		return append(dst, flag|byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, flag|126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, flag|127), uint64(n))
}

// mask XORs b with the key, eight bytes at a time.
func mask(b []byte, key [keyLength]byte) {
	k := uint64(binary.LittleEndian.Uint32(key[:]))
	k |= k << 32
	for len(b) >= 32 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^k)
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])^k)
		binary.LittleEndian.PutUint64(b[24:], binary.LittleEndian.Uint64(b[24:])^k)
		b = b[32:]
	}
	for i := range b {
		b[i] ^= key[i%keyLength]
	}
}

// frameReader reads the headers of a peer's frames. Between two calls it may be at any
// byte. The zero value is at the first byte of a server's stream.
type frameReader struct {
	fromClient bool // frames are masked, and may be of text
	header     [maxHeader]byte
	have       int    // bytes of the header, 0 to maxHeader
	payload    uint64 // bytes of the frame's payload that are to come
	inMessage  bool   // the message goes on in the next frame
	control    []byte // payload of the current control frame, nil in a data frame
	opcode     byte   // of the control frame
}

// deframer removes the frames of a server's stream. Between two calls it may be at any
// byte. The zero value is at the first.
type deframer struct{ frameReader }

// deframe moves the payloads of data frames in b, the next bytes of the stream, to the
// front of b, and returns their number. It calls onControl with each whole control frame,
// whose payload is valid during the call; an error of it is returned at once, as others,
// with the number of bytes before.
func (d *deframer) deframe(b []byte, onControl func(opcode byte, payload []byte) error) (n int, err error) {
	for next := 0; ; {
		if d.have < d.headerLength() {
			if next == len(b) {
				return n, nil
			}
			used, err := d.readHeader(b[next:])
			if err != nil {
				return n, err
			}
			next += used
			continue
		}
		part := b[next : next+int(min(d.payload, uint64(len(b)-next)))]
		next += len(part)
		d.payload -= uint64(len(part))
		if d.control == nil {
			n += copy(b[n:], part)
		} else {
			d.control = append(d.control, part...)
		}
		if d.payload > 0 {
			return n, nil
		}
		payload := d.control
		d.have, d.control = 0, nil
		if payload != nil {
			if err := onControl(d.opcode, payload); err != nil {
				return n, err
			}
		}
	}
}

// headerLength returns the length of the header, as far as it is known.
func (d *frameReader) headerLength() int {
	n := 2
	if d.have < n {
		return n
	}
	switch d.header[1] &^ masked {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if d.fromClient {
		n += keyLength
	}
	return n
}

// readHeader reads the bytes of the header that are in b, and checks what is whole.
func (d *frameReader) readHeader(b []byte) (used int, err error) {
	for used < len(b) && d.have < d.headerLength() {
		d.header[d.have] = b[used]
		used++
		d.have++
		if d.have == 2 && (d.header[1]&masked != 0) != d.fromClient {
			return used, badFrame("its mask flag is the other side's")
		}
	}
	if d.have < d.headerLength() {
		return used, nil
	}
	return used, d.begin()
}

// begin begins a frame whose header is whole.
func (d *frameReader) begin() error {
	switch h := d.header[:]; h[1] &^ masked {
	case 126:
		d.payload = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		d.payload = binary.BigEndian.Uint64(h[2:])
	default:
		d.payload = uint64(h[1] &^ masked)
	}
	first, isFinal := d.header[0], d.header[0]&final != 0
	opcode := first & 0xf
	switch {
	case first&0x70 != 0:
		return badFrame("a reserved bit is set")
	case d.payload>>63 != 0:
		return badFrame("its length is negative")
	}
	switch opcode {
	case opBinary, opText, opContinuation:
		if d.inMessage != (opcode == opContinuation) {
			return badFrame("it does not belong to the message before")
		}
		d.inMessage = !isFinal
		if opcode == opText {
			return ErrText
		}
	case opClose, opPing, opPong:
		if !isFinal || d.payload > maxControl {
			return badFrame("a control frame is long, or in parts")
		}
		d.opcode, d.control = opcode, make([]byte, 0, d.payload)
	default:
		return badFrame("an unknown opcode")
	}
	return nil
}

// key returns the key of a client's frame.
func (d *frameReader) key() (key [keyLength]byte) {
	copy(key[:], d.header[d.headerLength()-keyLength:])
	return key
}
