package datacenter

import (
	"fmt"
	"strconv"
	"strings"
)

// DC is a DC id as the init payload carries it: a signed 16-bit integer that
// names the data centre for a connection, and its purpose.
//
//	 n            production data centre n, 1 to 5
//	 n + 10000    test data centre n, 1 to 3
//	-n, -(n+10000) the same, for media (downloads)
//	 203          a CDN data centre; these are never negated
//	 0            none
//
// The sign and the offset are part of the value: a proxy forwards a DC unchanged.
// ID, Test and Media return its parts.
//
// A client without a proxy secret may leave random bytes in this field, so a
// server must accept any value. All methods are defined for all values.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
type DC int16

// CDN is the CDN data centre of the public table. The method help.getConfig may
// name more.
const CDN DC = 203

// testOffset is the difference between a test data centre's DC and its ID.
const testOffset = 10000

// size returns the absolute value. It is an int because -32768 has no positive
// counterpart in 16 bits.
func (dc DC) size() int {
	if dc < 0 {
		return -int(dc)
	}
	return int(dc)
}

// ID returns the data centre's plain number, without sign and test offset: 1 to 5
// or 203 for data centres that exist. It is 0 for the zero value.
func (dc DC) ID() int {
	if dc.Test() {
		return dc.size() - testOffset
	}
	return dc.size()
}

// Media reports whether the connection is for media (downloads).
func (dc DC) Media() bool { return dc < 0 }

// Test reports whether the data centre is in the test environment.
func (dc DC) Test() bool { return dc.size() > testOffset }

// AsMedia returns the DC for media of the same data centre. A CDN data centre has
// media only, and its number is never negated: AsMedia returns CDN unchanged.
func (dc DC) AsMedia() DC {
	if dc < 0 || dc.ID() == CDN.ID() {
		return dc
	}
	return -dc
}

// AsTest returns the DC of the same ID and purpose in the test environment. It
// returns test data centres and 0 unchanged.
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

// String returns the signed decimal number, such as "2" or "-10002". ParseDC
// returns an equal DC for it.
func (dc DC) String() string { return strconv.Itoa(int(dc)) }

// Describe returns the number in words, such as "DC 2, test, media".
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

// ParseDC parses a signed decimal number of 16 bits, as String returns it. Other text is an
// error. ParseDC does not check whether the data centre exists.
func ParseDC(text string) (DC, error) {
	n, err := strconv.ParseInt(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("bad DC %q: want a number such as 2, -2 (media), 10002 (test) or 203 (CDN)", text)
	}
	return DC(n), nil
}
