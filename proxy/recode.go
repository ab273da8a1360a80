package proxy

import (
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/obfuscation"
)

// recoding is what is done to the bytes of one direction, in place: records are
// taken off, one cipher is undone, and another put on.
type recoding struct {
	records       *faketls.Deframer // nil if there are none
	receive, send obfuscation.Cursor
}

// rest is a relay.Flow's Parked.
func (r *recoding) rest() {
	r.receive.Rest()
	r.send.Rest()
}

// stride is how much goes through both ciphers at a time: it should stay in
// the processor's nearest cache in between.
const stride = 16 << 10

// edit is a relay.Flow's Edit.
func (r *recoding) edit(b []byte) (n int, err error) {
	n = len(b)
	if r.records != nil {
		n, err = r.records.Deframe(b)
	}
	for rest := b[:n]; len(rest) > 0; {
		piece := rest[:min(len(rest), stride)]
		r.receive.XORKeyStream(piece, piece)
		r.send.XORKeyStream(piece, piece)
		rest = rest[len(piece):]
	}
	return n, err
}
