package frame

import (
	"fmt"
	"strings"
)

// Protocol is one of the four framings of MTProto messages on a byte stream. The
// zero value is not valid.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports
type Protocol uint8

const (
	// Abridged has a length in words: one byte, or 7f and three bytes.
	Abridged Protocol = iota + 1
	// Intermediate has a four-byte length in bytes.
	Intermediate
	// PaddedIntermediate is Intermediate with random bytes after the payload,
	// which the length includes.
	PaddedIntermediate
	// Full has a four-byte length, a sequence number and a CRC-32.
	Full
)

// Protocols lists the four framings in the order of the specification.
var Protocols = [...]Protocol{Abridged, Intermediate, PaddedIntermediate, Full}

// protocolFacts is the header that a client sends once before its first frame, and
// the tag that replaces it inside an obfuscated init payload.
type protocolFacts struct {
	name   string
	header string // sent in clear, by the client only
	tag    string // at 56..60 of the init payload; "" if there is none
}

var protocolTable = [...]protocolFacts{
	0:                  {name: "unknown"},
	Abridged:           {"abridged", "\xef", "\xef\xef\xef\xef"},
	Intermediate:       {"intermediate", "\xee\xee\xee\xee", "\xee\xee\xee\xee"},
	PaddedIntermediate: {"padded-intermediate", "\xdd\xdd\xdd\xdd", "\xdd\xdd\xdd\xdd"},
	Full:               {"full", "", ""},
}

func (p Protocol) facts() protocolFacts {
	if int(p) >= len(protocolTable) {
		return protocolTable[0]
	}
	return protocolTable[p]
}

// Valid reports whether p is one of the four framings.
func (p Protocol) Valid() bool { return p >= Abridged && p <= Full }

// String returns the name for command lines and URLs: "abridged",
// "intermediate", "padded-intermediate" or "full".
func (p Protocol) String() string { return p.facts().name }

// MarshalText returns the same text as String.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses text with ParseProtocol.
func (p *Protocol) UnmarshalText(text []byte) (err error) {
	*p, err = ParseProtocol(string(text))
	return err
}

// Header returns the bytes that a client sends once before its first frame on a
// connection without obfuscation: ef, ee ee ee ee, dd dd dd dd, or none for Full.
// A server never sends them.
func (p Protocol) Header() string { return p.facts().header }

// Tag returns the four bytes for p at 56..60 of an obfuscated init payload. Full
// has none: ok is false.
func (p Protocol) Tag() (tag [4]byte, ok bool) {
	s := p.facts().tag
	copy(tag[:], s)
	return tag, s != ""
}

// ProtocolByTag is the inverse of Tag.
func ProtocolByTag(tag [4]byte) (Protocol, bool) {
	for p := range protocolTable {
		if protocolTable[p].tag == string(tag[:]) {
			return Protocol(p), true
		}
	}
	return 0, false
}

// ParseProtocol parses a name that String returns, in any case. It accepts
// "padded" for "padded-intermediate". Any other name is an error.
func ParseProtocol(name string) (Protocol, error) {
	lower := strings.ToLower(name)
	if lower == "padded" {
		return PaddedIntermediate, nil
	}
	for _, p := range Protocols {
		if p.String() == lower {
			return p, nil
		}
	}
	return 0, fmt.Errorf("unknown protocol %q: want abridged, intermediate, padded-intermediate or full", name)
}
