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

// transform is a splice.Flow's Transform.
func (r *reencrypter) transform(b []byte) (n int, err error) {
	n = len(b)
	if r.records != nil {
		n, err = r.records.Deframe(b)
	}
	b = b[:n]
	if r.watch == nil || n == 0 {
		obfuscation.Reencrypt(b, b, &r.receive, &r.send)
		return n, err
	}
	r.receive.XORKeyStream(b, b)
	more, bad := r.watch(b)
	if bad != nil {
		return 0, bad
	}
	if !more {
		r.watch = nil
	}
	r.send.XORKeyStream(b, b)
	return n, err
}
