package faketls

import "github.com/mtwire/mtwire/internal/multibuffer"

// Both hellos have a random at the same offset, and in both it is an HMAC-SHA256:
//
//	 0  5  record header
//	 5  4  handshake type, u24 length
//	 9  2  03 03
//	11 32  random
//	43 33  20, session ID
const (
	randomStart     = 11
	randomEnd       = 43
	sessionEnd      = 76
	sessionIDLength = 32
)

// noRandom replaces the random in the input of a digest.
var noRandom [randomEnd - randomStart]byte

// digest returns the HMAC-SHA256 of prefix and record, with zeros in place of the
// record's random.
func digest(key *[16]byte, prefix, record []byte) [32]byte {
	return multibuffer.HMAC(key, prefix, record[:randomStart], noRandom[:], record[randomEnd:])
}
