// Package detect identifies a client's transport by the first bytes of its
// connection, so that a server can serve all transports on one port. It does no
// I/O and needs no keys: it is a pure function on bytes, with one ordered table.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports
package detect

import (
	"encoding/binary"

	"github.com/mtwire/mtwire/frame"
)

// Kind is the kind of a connection's first bytes.
type Kind uint8

const (
	// More means that the bytes so far match several kinds.
	More Kind = iota
	// Framed is one of the four framings in clear, Result.Protocol.
	Framed
	// HTTP is a request: "GET " for a WebSocket, "POST" with a message, "OPTI" for
	// the preflight of a POST.
	HTTP
	// TLS is a handshake record, of FakeTLS or of TLS. One in 2^24 valid init
	// payloads begins in the same way: if the record is neither, call Unwrapped
	// with the same bytes.
	TLS
	// Obfuscated is a possible init payload: InitLength bytes of no other kind.
	// Only a secret can confirm it. If none matches, the transport is unknown.
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

// Lengths at which the table has a result.
const (
	tagLength  = 4
	tlsLength  = 3
	fullLength = 8

	// InitLength is the number of bytes after which First never returns More.
	InitLength = 64
)

// Result is the result for the first bytes.
type Result struct {
	Kind Kind

	// Protocol is the framing. Framed only.
	Protocol frame.Protocol

	// Header is the length of the transport's header, which comes before its first
	// frame. Framed only.
	Header int

	// Need is the number of bytes, counted from the first, after which First can
	// return another result. More only.
	Need int
}

// First returns the kind of a connection's first bytes. maxLength is the server's
// limit on packets, or 0 for frame.DefaultMaxLength: longer lengths are not the
// start of Full.
//
// The table, in order; n is the number of bytes that a row needs:
//
//	n   test                                  result
//	1   ef                                    abridged, header 1
//	4   ee ee ee ee, dd dd dd dd              intermediate, padded, header 4
//	4   "GET ", "POST", "HEAD", "OPTI"        HTTP
//	3   16 03 01, 16 03 03                    TLS
//	8   second word zero, first a length      full
//	64  none of these                         obfuscated
//
// Other HTTP methods are not in the table, because an init payload can begin with
// them.
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

// Unwrapped returns the kind of the first bytes inside WebSocket or FakeTLS, where
// an init payload is the only transport, and of a connection for which First
// returned TLS and that is not TLS.
func Unwrapped(b []byte) Result {
	if len(b) < InitLength {
		return Result{Kind: More, Need: InitLength}
	}
	return Result{Kind: Obfuscated}
}
