package faketls

import "github.com/mtwire/mtwire/frame"

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

	header  [RecordHeaderLength]byte
	have    uint8 // bytes of header that have arrived
	discard bool  // the body is a ChangeCipherSpec record's
	left    int   // bytes of the body that have not arrived
	err     error
}

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
			continue
		}
		k := min(d.left, len(b)-off)
		if !d.discard {
			n += copy(b[n:], b[off:off+k])
		}
		off += k
		d.left -= k
	}
	return n, nil
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
