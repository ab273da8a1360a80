package datacenter

import (
	"fmt"
	"strconv"
	"strings"
)

// DC is a data centre's number as the init payload carries it: a signed
// 16-bit integer that says which data centre a client wants, and how.
//
//	 n            production data centre n, 1 to 5
//	 n + 10000    test data centre n, 1 to 3
//	-n, -(n+10000) the same, for media (downloads)
//	 203          a CDN data centre; these are never negated
//	 0            not named
//
// The sign and the offset are part of the value. Code that passes a DC on,
// a proxy above all, passes it on whole; ID, Test and Media look at its parts.
//
// A client that has no proxy secret may leave random bytes in this field, so
// a server must expect any value. All methods are total.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
type DC int16

// CDN is the number of the CDN data centre that clients are sent to. More may
// be named by help.getConfig.
const CDN DC = 203

// testOffset is what a test data centre's number is raised by.
const testOffset = 10000

// size is the value without its sign. It is an int because -32768 has no
// positive counterpart in 16 bits.
func (dc DC) size() int {
	if dc < 0 {
		return -int(dc)
	}
	return int(dc)
}

// ID returns the data centre's plain number, without sign and test offset:
// 1 to 5, or 203. It is 0 if none is named.
func (dc DC) ID() int {
	if dc.Test() {
		return dc.size() - testOffset
	}
	return dc.size()
}

// Media says whether the client asks for the media side of the data centre.
func (dc DC) Media() bool { return dc < 0 }

// Test says whether the data centre is one of the test environment.
func (dc DC) Test() bool { return dc.size() > testOffset }

// AsMedia returns the media side of the same data centre. A CDN data centre
// has media only and its number is never negated, so CDN stays as it is.
func (dc DC) AsMedia() DC {
	if dc < 0 || dc.ID() == CDN.ID() {
		return dc
	}
	return -dc
}

// AsTest returns the data centre of the same number and side in the test
// environment. A test data centre stays as it is, and so does 0.
func (dc DC) AsTest() DC {
	switch {
	case dc == 0 || dc.Test():
		return dc
	case dc < 0:
		return dc - testOffset
	default:
		return dc + testOffset
	}
}

// String returns the signed decimal number, as "2" or "-10002". ParseDC reads
// it back.
func (dc DC) String() string { return strconv.Itoa(int(dc)) }

// Describe returns the number in words, as "DC 2, test, media".
func (dc DC) Describe() string {
	if dc == 0 {
		return "no DC named"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "DC %d", dc.ID())
	if dc.ID() == CDN.ID() {
		b.WriteString(", CDN")
	}
	if dc.Test() {
		b.WriteString(", test")
	}
	if dc.Media() {
		b.WriteString(", media")
	}
	return b.String()
}

// ParseDC reads a signed decimal number of 16 bits, as String writes it. It
// does not ask whether such a data centre exists.
func ParseDC(text string) (DC, error) {
	n, err := strconv.ParseInt(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("bad DC %q: want a number such as 2, -2 (media), 10002 (test) or 203 (CDN)", text)
	}
	return DC(n), nil
}
