package proxy

import (
	"crypto/cipher"

	"github.com/mtwire/mtwire/faketls"
)

// upload is what is done to the bytes that go up: a client's records are taken
// off, its cipher is undone, and the data centre's put on, all in place.
type upload struct {
	records       *faketls.Deframer // nil without FakeTLS
	receive, send cipher.Stream
}

// stride is how much goes through both ciphers at a time: it should stay in
// the processor's nearest cache in between.
const stride = 16 << 10

func (u *upload) edit(b []byte) (n int, err error) {
	n = len(b)
	if u.records != nil {
		n, err = u.records.Deframe(b)
	}
	for rest := b[:n]; len(rest) > 0; {
		piece := rest[:min(len(rest), stride)]
		u.receive.XORKeyStream(piece, piece)
		u.send.XORKeyStream(piece, piece)
		rest = rest[len(piece):]
	}
	return n, err
}
