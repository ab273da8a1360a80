package faketls

import "github.com/mtwire/mtwire/internal/multibuffer"

// Both hellos have their random at the same place, and it is both times the
// digest:
//
//	 0  5  record header
//	 5  4  handshake type, u24 length
//	 9  2  03 03
//	11 32  random
//	43 33  20, session id
const (
	randomStart     = 11
	randomEnd       = 43
	sessionEnd      = 76
	sessionIDLength = 32
)

// noRandom stands in for the random where a digest is computed.
var noRandom [randomEnd - randomStart]byte

// digest returns the HMAC-SHA256 of prefix and then record, as if record had
// zeros in place of its random.
func digest(key *[16]byte, prefix, record []byte) [32]byte {
	return multibuffer.HMAC(key, prefix, record[:randomStart], noRandom[:], record[randomEnd:])
}
