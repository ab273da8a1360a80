package faketls

import (
	"crypto/sha256"
	"crypto/subtle"
	"hash"
)

// Both hellos have their random at the same place, and it is both times the
// digest:
//
//	 0  5  record header
//	 5  4  handshake type, u24 length
//	 9  2  03 03
//	11 32  random
//	43 33  20, session id
const (
	randomStart  = 11
	randomEnd    = 43
	sessionEnd   = 76
	sessionIDLen = 32
)

// digester computes the HMAC-SHA256 of both hellos for any number of keys on
// one allocation. crypto/hmac would make several for each key, and a server
// tries all its keys on whatever a stranger sends.
type digester struct {
	h     hash.Hash
	pad   [sha256.BlockSize]byte
	inner [sha256.Size]byte
	zeros [randomEnd - randomStart]byte
}

func newDigester() *digester { return &digester{h: sha256.New()} }

// digest returns the HMAC of prefix and then record, as if record had zeros
// in place of its random.
func (d *digester) digest(key *[16]byte, prefix, record []byte) (sum [sha256.Size]byte) {
	d.h.Reset()
	d.writePad(key, 0x36)
	d.h.Write(prefix)
	d.h.Write(record[:randomStart])
	d.h.Write(d.zeros[:])
	d.h.Write(record[randomEnd:])
	d.h.Sum(d.inner[:0])

	d.h.Reset()
	d.writePad(key, 0x5c)
	d.h.Write(d.inner[:])
	d.h.Sum(d.inner[:0])
	return d.inner
}

func (d *digester) writePad(key *[16]byte, fill byte) {
	for i := range d.pad {
		d.pad[i] = fill
	}
	subtle.XORBytes(d.pad[:len(key)], d.pad[:len(key)], key[:])
	d.h.Write(d.pad[:])
}
