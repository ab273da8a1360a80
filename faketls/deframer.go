package faketls

import "github.com/mtwire/mtwire/frame"

// Deframer removes record headers from one direction of a stream. It works in
// place on whatever pieces the stream arrives in, and keeps no bytes beyond a
// header that has not fully arrived. The zero value reads a client's records
// from the first byte after its hello.
//
// ChangeCipherSpec records and empty records vanish.
//
// A Deframer is not safe for concurrent use.
type Deframer struct {
	// From is the end whose records are read.
	From frame.Side

	header  [RecordHeaderLength]byte
	have    uint8 // bytes of header that arrived
	discard bool  // the body belongs to a ChangeCipherSpec
	left    int   // bytes of the body still to come
	err     error
}

// Deframe consumes all of b, the next bytes of the stream, and moves the
// application bytes among them to its front. It returns how many those are,
// at most len(b).
//
// After a malformed header Deframe returns the application bytes ahead of it
// together with a *RecordError, and that error, with n = 0, at every later
// call.
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

// Complete says whether the stream may end here: no record has been begun and
// not finished.
func (d *Deframer) Complete() bool { return d.have == 0 && d.left == 0 && d.err == nil }

// headerLeft is how many bytes of a header must come before the next
// application byte can; 0 inside a body.
func (d *Deframer) headerLeft() int {
	if d.left > 0 {
		return 0
	}
	return RecordHeaderLength - int(d.have)
}
