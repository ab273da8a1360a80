package proxy

import (
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/obfuscation"
)

// reencrypter changes the bytes of one direction in place: it removes records,
// decrypts with one key stream and encrypts with another.
type reencrypter struct {
	records       *faketls.Deframer // nil if there are none
	receive, send obfuscation.Cursor

	// watch, if not nil, is called with the decrypted bytes until it returns false.
	// Its error ends the direction, without the bytes.
	watch func(clear []byte) (more bool, err error)
}

// rest releases the ciphers until there are bytes again: a splice.Flow's Parked.
func (r *reencrypter) rest() {
	r.receive.Rest()
	r.send.Rest()
}

// chunk is how many bytes go through both ciphers at a time: they should stay in
// the processor's first cache in between.
const chunk = 16 << 10

// transform is a splice.Flow's Transform.
func (r *reencrypter) transform(b []byte) (n int, err error) {
	n = len(b)
	if r.records != nil {
		n, err = r.records.Deframe(b)
	}
	for rest := b[:n]; len(rest) > 0; {
		piece := rest[:min(len(rest), chunk)]
		r.receive.XORKeyStream(piece, piece)
		if r.watch != nil {
			more, bad := r.watch(piece)
			if bad != nil {
				return 0, bad
			}
			if !more {
				r.watch = nil
			}
		}
		r.send.XORKeyStream(piece, piece)
		rest = rest[len(piece):]
	}
	return n, err
}
