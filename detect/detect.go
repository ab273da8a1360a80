// Package detect tells from a connection's first bytes which transport a
// client has chosen, so that a server can take all of them on one port. It
// reads nothing itself and knows no keys: a pure function on bytes, and one
// ordered table.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports
package detect

import (
	"encoding/binary"
	"fmt"

	"github.com/mtwire/mtwire/frame"
)

// Kind is what a connection begins with.
type Kind uint8

const (
	// More means that the bytes so far fit several kinds.
	More Kind = iota
	// Framed is one of the four framings in clear; Result.Protocol says which.
	Framed
	// HTTP is a request: "GET " may become a WebSocket, "POST" carries a
	// message, "OPTI" asks whether it may.
	HTTP
	// TLS is a handshake record: FakeTLS, or TLS itself. A legal init payload
	// can begin like one, once in 2^24, so when neither fits, the same bytes
	// are to be judged by Unwrapped.
	TLS
	// Obfuscated is an init payload, as far as can be said without keys:
	// InitLength bytes that are nothing else. Whether it is one, only a
	// secret tells. If none fits, it is unknown.
	Obfuscated
)

// String returns the kind's name for logs.
func (k Kind) String() string {
	switch k {
	case More:
		return "undecided"
	case Framed:
		return "framed"
	case HTTP:
		return "http"
	case TLS:
		return "tls"
	case Obfuscated:
		return "obfuscated"
	}
	return "invalid"
}

// Lengths at which the table decides.
const (
	tagLength  = 4
	tlsLength  = 3
	fullLength = 8

	// InitLength is the most that First looks at.
	InitLength = 64
)

// Result is what the first bytes are.
type Result struct {
	Kind Kind

	// Protocol is the framing. Framed only.
	Protocol frame.Protocol

	// Header is how many bytes belong to the transport's header and not to
	// its first frame. Framed only.
	Header int

	// Need is how many bytes, counted from the first, allow the next
	// decision. More only.
	Need int
}

// UnknownError is for a server that has found none of its secrets to fit:
// what came is not known, and here it is.
type UnknownError struct {
	// First are the bytes that were read, at least InitLength unless the
	// peer stopped before.
	First []byte
}

func (e *UnknownError) Error() string {
	if len(e.First) == 0 {
		return "unknown transport: nothing came"
	}
	return fmt.Sprintf("unknown transport: it begins with % x", e.First[:min(len(e.First), 16)])
}

// First judges the first bytes of a connection. maxLength is the longest
// packet that the server takes, 0 meaning frame.DefaultMaxLength: it keeps
// junk with a zero in the right place from passing for Full.
//
// The table, in order; n is how many bytes a row needs:
//
//	n   test                                  result
//	1   ef                                    abridged, header 1
//	4   ee ee ee ee, dd dd dd dd              intermediate, padded, header 4
//	4   "GET ", "POST", "HEAD", "OPTI"        HTTP
//	3   16 03 01, 16 03 03                    TLS
//	8   second word zero, first a length      full
//	64  none of these                         obfuscated
//
// Only those four methods: other words may begin an init payload.
func First(b []byte, maxLength int) Result {
	if len(b) == 0 {
		return Result{Kind: More, Need: 1}
	}
	if b[0] == 0xef {
		return Result{Kind: Framed, Protocol: frame.Abridged, Header: 1}
	}
	if len(b) >= tlsLength && b[0] == 0x16 && b[1] == 3 && (b[2] == 1 || b[2] == 3) {
		return Result{Kind: TLS}
	}
	if len(b) < tagLength {
		if b[0] == 0x16 && len(b) < tlsLength {
			return Result{Kind: More, Need: tlsLength}
		}
		return Result{Kind: More, Need: tagLength}
	}
	switch string(b[:tagLength]) {
	case frame.Intermediate.Header():
		return Result{Kind: Framed, Protocol: frame.Intermediate, Header: tagLength}
	case frame.PaddedIntermediate.Header():
		return Result{Kind: Framed, Protocol: frame.PaddedIntermediate, Header: tagLength}
	case "GET ", "POST", "HEAD", "OPTI":
		return Result{Kind: HTTP}
	}
	if len(b) < fullLength {
		return Result{Kind: More, Need: fullLength}
	}
	if binary.LittleEndian.Uint32(b[4:]) == 0 && frame.LooksFull([8]byte(b), maxLength) {
		return Result{Kind: Framed, Protocol: frame.Full}
	}
	return Unwrapped(b)
}

// Unwrapped judges the first bytes inside WebSocket or FakeTLS, where nothing
// but an init payload may stand; and those of a connection that looked like
// TLS and was not.
func Unwrapped(b []byte) Result {
	if len(b) < InitLength {
		return Result{Kind: More, Need: InitLength}
	}
	return Result{Kind: Obfuscated}
}
