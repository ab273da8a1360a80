package faketls

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mtwire/mtwire/frame"
)

// Deframer removes the record headers from one direction of a connection. It works in
// place on pieces of any size, and stores only a part of a header. The zero value
// reads a client's records from the first byte after its hello.
//
// It skips ChangeCipherSpec records and empty ones.
//
// A Deframer is not safe for concurrent use.
type Deframer struct {
	// From is the side that sends the records.
	From frame.Side

	// Strict is for a server that imitates one of TLS, which ends a connection at
	// what it cannot decrypt: until the stream's first byte, empty ApplicationData
	// records, ChangeCipherSpec records whose body is not 01 and more than 32 of
	// them, which is OpenSSL's limit, are malformed.
	Strict bool

	header  [RecordHeaderLength]byte
	have    uint8 // bytes of header that have arrived
	discard bool  // the body is a ChangeCipherSpec record's
	started bool  // a byte of the stream has arrived
	skipped uint8 // records before that
	left    int   // bytes of the body that have not arrived
	err     error
}

// maxSkipped is how many ChangeCipherSpec records a strict Deframer skips.
const maxSkipped = 32

// Deframe consumes all of b, the next bytes from the connection, and moves the
// stream's bytes among them to the front of b. It returns their number n.
//
// At a malformed header, Deframe returns the number of the stream's bytes before it
// and a *RecordError. Later calls return 0 and the same error.
func (d *Deframer) Deframe(b []byte) (n int, err error) {
	if d.err != nil {
		return 0, d.err
	}
	for off := 0; off < len(b); {
		if d.left == 0 {
			k := copy(d.header[d.have:], b[off:])
			d.have += uint8(k)
			off += k
			if d.have < RecordHeaderLength {
				break
			}
			t, length, err := ParseRecordHeader(d.header[:], d.From)
			if err != nil {
				d.err = err
				return n, err
			}
			d.have, d.left, d.discard = 0, length, t == RecordChangeCipherSpec
			if d.Strict && !d.started {
				if d.err = d.checkFirst(length); d.err != nil {
					return n, d.err
				}
			}
			continue
		}
		k := min(d.left, len(b)-off)
		switch {
		case !d.discard:
			n += copy(b[n:], b[off:off+k])
			d.started = true
		case d.Strict && !d.started && b[off] != 1:
			d.err = recordError(d.header[:], "ChangeCipherSpec is %02x, want 01", b[off])
			return n, d.err
		}
		off += k
		d.left -= k
	}
	return n, nil
}

// checkFirst checks the header of a record before the stream's first byte.
func (d *Deframer) checkFirst(length int) error {
	if length == 0 {
		return recordError(d.header[:], "the first record is empty")
	}
	if d.discard {
		d.skipped++
	}
	if d.skipped > maxSkipped {
		return recordError(d.header[:], "%d ChangeCipherSpec records", d.skipped)
	}
	return nil
}

// Complete reports whether the stream may end here: no record is incomplete and
// there was no error.
func (d *Deframer) Complete() bool { return d.have == 0 && d.left == 0 && d.err == nil }

// headerLeft returns the number of header bytes before the next byte of a body, and 0
// inside a body.
func (d *Deframer) headerLeft() int {
	if d.left > 0 {
		return 0
	}
	return RecordHeaderLength - int(d.have)
}

// DeframerLength is the length of an encoded Deframer, in bytes.
const DeframerLength = 8 + RecordHeaderLength

// The flags of an encoded Deframer.
const (
	deframerStrict = 1 << iota
	deframerDiscard
	deframerStarted
)

// AppendBinary appends the state of d to b, so that another process can go on from
// there. It is an encoding.BinaryAppender. It fails if Deframe has returned an error.
//
//	From 1 | flags 1 | have 1 | skipped 1 | left 4, big-endian | header 5
func (d *Deframer) AppendBinary(b []byte) ([]byte, error) {
	if d.err != nil {
		return b, d.err
	}
	var flags byte
	for i, set := range [...]bool{d.Strict, d.discard, d.started} {
		if set {
			flags |= 1 << i // in the order of the constants
		}
	}
	b = append(b, byte(d.From), flags, d.have, d.skipped)
	b = binary.BigEndian.AppendUint32(b, uint32(d.left))
	return append(b, d.header[:]...), nil
}

var errDeframer = errors.New("faketls: not the state of a Deframer")

// UnmarshalBinary sets d to what AppendBinary has appended, which are exactly
// DeframerLength bytes. After an error d is unchanged.
func (d *Deframer) UnmarshalBinary(b []byte) error {
	if len(b) != DeframerLength {
		return fmt.Errorf("%w: %d bytes, want %d", errDeframer, len(b), DeframerLength)
	}
	flags, left := b[1], binary.BigEndian.Uint32(b[4:])
	next := Deframer{
		From: frame.Side(b[0]), Strict: flags&deframerStrict != 0,
		header: [RecordHeaderLength]byte(b[8:]), have: b[2], skipped: b[3], left: int(left),
		discard: flags&deframerDiscard != 0, started: flags&deframerStarted != 0,
	}
	if flags > 7 || next.have >= RecordHeaderLength || left > 1<<16 || left > 0 && next.have > 0 ||
		next.From != frame.Client && next.From != frame.Server {
		return errDeframer
	}
	*d = next
	return nil
}
