package faketls

import (
	"crypto/subtle"
	"encoding/binary"
	"iter"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/multibuffer"
)

// The layout of a ClientHello in one record. Only the first 76 bytes are at fixed
// offsets. Clients vary everything after them, deliberately, and between connections.
//
//	 0  3  16 03 01, some 16 03 03
//	 3  2  length of the record's body
//	 5  4  01, u24 length of the rest
//	 9  2  03 03
//	11 32  random: HMAC[0:28], HMAC[28:32] XOR u32le(unix time)
//	43  1  20
//	44 32  session ID
//	76  2  length of the cipher list, the list,
//	       compression methods, extensions
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.1.2
const (
	handshakeHeaderLength = 4 // type, u24 length
	clientHelloType       = 1
	serverHelloType       = 2

	// helloHeadLength is the length of the part of the handshake message that is
	// checked as it arrives, from the type up to the length of the session ID.
	helloHeadLength = sessionEnd - sessionIDLength - RecordHeaderLength

	// minHello is the length of the shortest ClientHello message: the fixed part,
	// one cipher suite and one compression method. Clients send 517 bytes or more.
	minHello = sessionEnd - RecordHeaderLength + 2 + 2 + 1 + 1

	// maxHelloRecords is the largest number of records of a ClientHello.
	// Circumvention tools fragment it into two or three.
	maxHelloRecords = 10

	// matchLength is the length of the part of the random that has only the HMAC.
	matchLength = 28
)

// Extensions whose bodies are read.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.2
const (
	extensionServerName = 0
	extensionGroups     = 10
	extensionSignatures = 13
	extensionALPN       = 16
	extensionPadding    = 21
	extensionVersions   = 43
	extensionKeyShare   = 51
)

// ClientHello is a client's first message.
type ClientHello struct {
	// Random is bytes 11..43 as sent. The server's digest covers it.
	Random [32]byte
	// SessionID is the session ID, which the server echoes.
	SessionID [32]byte
	// SNI is the host in the server_name extension, byte for byte as sent, or ""
	// if there is none. Some clients send none.
	SNI string
	// CipherSuite is the first TLS 1.3 cipher suite in the client's list, or 0 if
	// there is none.
	CipherSuite uint16
	// MLKEM is true if the client sends a key share for X25519MLKEM768.
	MLKEM bool

	suites uint8  // bit n is set if suite 1300+n is offered
	groups uint8  // bit n is set if there is a key share for groups[n]
	record []byte // header and message, as the HMAC covers them
}

// ParseClientHello parses the ClientHello at the start of b and returns its length n
// in bytes, record headers included.
//
// With ErrIncomplete, n is the length that b must have at least before another call
// can succeed. A caller that reads up to n bytes never reads beyond the hello. The
// error is ErrMalformed from the first byte on that no hello has in its place: an
// init payload of package obfuscation may also begin with 16 03 01, and its sender
// expects an answer to 64 bytes.
//
// ParseClientHello accepts records of version 03 01 and 03 03 with 1 to 16384 bytes,
// a message of 77 to 16384 bytes in at most ten records, and a session ID of 32
// bytes. For several records, the HMAC covers one header, rebuilt for the whole
// message. Bytes after the session ID are parsed as far as they are well formed and
// never cause an error, since the HMAC authenticates them.
//
// hello refers to b, which must not change before the last Match or MatchAny.
func ParseClientHello(b []byte) (hello ClientHello, n int, err error) {
	var (
		head    [helloHeadLength]byte
		have    int // bytes of head that arrived
		joined  int // bytes of the message in records before this one
		message = -1
	)
	for records := 1; message < 0 || joined < message; records++ {
		if records > maxHelloRecords {
			return ClientHello{}, 0, malformed("ClientHello: more than %d records", maxHelloRecords)
		}
		length, err := helloRecordLength(b[n:], n)
		if err == ErrIncomplete {
			return ClientHello{}, n + RecordHeaderLength, err
		} else if err != nil {
			return ClientHello{}, 0, err
		}
		body := b[n+RecordHeaderLength:]
		body = body[:min(length, len(body))]
		have += copy(head[have:], body)
		if message, err = checkHelloHead(head[:have]); err != nil {
			return ClientHello{}, 0, err
		}
		if message >= 0 && length > message-joined {
			return ClientHello{}, 0, malformed("ClientHello: record of %d bytes at %d goes beyond the message", length, n)
		}
		n += RecordHeaderLength + length
		joined += length
		if len(body) < length {
			return ClientHello{}, n, ErrIncomplete
		}
	}

	hello.record = b[:n:n]
	if n != RecordHeaderLength+message {
		hello.record = joinHello(b[:n], message)
	}
	hello.Random = [32]byte(hello.record[randomStart:])
	hello.SessionID = [32]byte(hello.record[sessionEnd-sessionIDLength:])
	hello.parseOffer(hello.record[sessionEnd:])
	return hello, n, nil
}

// helloRecordLength checks the part of a record header that has arrived, at offset off
// of the hello, and returns the length of the body.
func helloRecordLength(b []byte, off int) (int, error) {
	b = b[:min(len(b), RecordHeaderLength)]
	switch {
	case len(b) > 0 && b[0] != byte(RecordHandshake):
		return 0, malformed("ClientHello: record type %#02x at %d, want 16", b[0], off)
	case len(b) > 1 && b[1] != 3, len(b) > 2 && b[2] != 1 && b[2] != 3:
		return 0, malformed("ClientHello: record version % x at %d, want 03 01 or 03 03", b[1:], off+1)
	case len(b) > 3 && b[3] > maxPlaintext>>8:
		return 0, malformed("ClientHello: record of %d bytes or more at %d, limit %d", int(b[3])<<8, off, maxPlaintext)
	case len(b) < RecordHeaderLength:
		return 0, ErrIncomplete
	}
	length := int(binary.BigEndian.Uint16(b[3:]))
	if length == 0 || length > maxPlaintext {
		return 0, malformed("ClientHello: record of %d bytes at %d, want 1 to %d", length, off, maxPlaintext)
	}
	return length, nil
}

// checkHelloHead checks the part of the message's head that has arrived and returns
// the length of the whole message, or -1 if that is not known yet.
func checkHelloHead(head []byte) (message int, err error) {
	if len(head) > 0 && head[0] != clientHelloType {
		return 0, malformed("ClientHello: handshake type %d, want %d", head[0], clientHelloType)
	}
	if len(head) > 1 && head[1] != 0 || len(head) > 2 && head[2] > maxPlaintext>>8 {
		return 0, malformed("ClientHello: message longer than %d bytes", maxPlaintext)
	}
	if len(head) < handshakeHeaderLength {
		return -1, nil
	}
	message = handshakeHeaderLength + int(binary.BigEndian.Uint16(head[2:]))
	if message < minHello || message > maxPlaintext {
		return 0, malformed("ClientHello: message of %d bytes, want %d to %d", message, minHello, maxPlaintext)
	}
	const version = randomStart - RecordHeaderLength - 2
	if len(head) > version && head[version] != 3 || len(head) > version+1 && head[version+1] != 3 {
		return 0, malformed("ClientHello: version is not 03 03")
	}
	if len(head) == helloHeadLength && head[helloHeadLength-1] != sessionIDLength {
		return 0, malformed("ClientHello: session ID of %d bytes, want %d", head[helloHeadLength-1], sessionIDLength)
	}
	return message, nil
}

// joinHello returns one record with the message that b has in several.
func joinHello(b []byte, message int) []byte {
	record := make([]byte, 0, RecordHeaderLength+message)
	record = append(record, b[:3]...)
	record = binary.BigEndian.AppendUint16(record, uint16(message))
	for len(b) > 0 {
		end := RecordHeaderLength + int(binary.BigEndian.Uint16(b[3:]))
		record = append(record, b[RecordHeaderLength:end]...)
		b = b[end:]
	}
	return record
}

// parseOffer parses the bytes after the session ID, up to the first malformed one.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#appendix-B.4
func (h *ClientHello) parseOffer(b []byte) {
	suites, b := vector16(b)
	for ; len(suites) >= 2; suites = suites[2:] {
		if s := binary.BigEndian.Uint16(suites); s >= 0x1301 && s <= 0x1305 { // those of TLS 1.3
			if h.CipherSuite == 0 {
				h.CipherSuite = s
			}
			h.suites |= 1 << (s & 7)
		}
	}
	_, b = vector8(b) // compression methods
	list, _ := vector16(b)
	for id, body := range extensions(list) {
		switch id {
		case extensionServerName:
			h.SNI = serverName(body)
		case extensionKeyShare:
			h.parseShares(body)
		}
	}
}

// extensions returns the ids and bodies of a list of extensions, or of key shares,
// which have the same form, up to the first malformed one.
func extensions(list []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(id uint16, body []byte) bool) {
		for len(list) >= extensionHeaderLength {
			end := extensionHeaderLength + int(binary.BigEndian.Uint16(list[2:]))
			if end > len(list) || !yield(binary.BigEndian.Uint16(list), list[extensionHeaderLength:end]) {
				return
			}
			list = list[end:]
		}
	}
}

// extensionHeaderLength is the length of an extension's id and length.
const extensionHeaderLength = 2 + 2

// offers reports whether the client offers a TLS 1.3 cipher suite.
func (h *ClientHello) offers(suite uint16) bool {
	return suite&^7 == 0x1300 && h.suites>>(suite&7)&1 != 0
}

// serverName returns the first host name of a server_name extension.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6066#section-3
func serverName(b []byte) string {
	names, _ := vector16(b)
	for len(names) >= 3 {
		kind := names[0]
		var name []byte
		name, names = vector16(names[1:])
		if kind == 0 {
			return string(name)
		}
	}
	return ""
}

// parseShares parses the key_share extension, up to the first malformed share.
func (h *ClientHello) parseShares(b []byte) {
	h.groups = 0
	shares, _ := vector16(b)
	for id, share := range extensions(shares) {
		for i := range groups {
			if groups[i].id == id && len(share) == groups[i].clientShare() {
				h.groups |= 1 << i
			}
		}
	}
	h.MLKEM = h.hasShare(groupX25519MLKEM768)
}

// hasShare reports whether the client sends a key share for the group, and the
// group is known.
func (h *ClientHello) hasShare(id uint16) bool {
	for i := range groups {
		if groups[i].id == id {
			return h.groups>>i&1 != 0
		}
	}
	return false
}

// vector16 splits b after a vector with a two-byte length. It returns nil, nil if b
// does not have the whole vector.
func vector16(b []byte) (vector, rest []byte) {
	if len(b) < 2 {
		return nil, nil
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	if end > len(b) {
		return nil, nil
	}
	return b[2:end], b[end:]
}

// vector8 is vector16 for a length of one byte.
func vector8(b []byte) (vector, rest []byte) {
	if len(b) < 1 || 1+int(b[0]) > len(b) {
		return nil, nil
	}
	return b[1 : 1+int(b[0])], b[1+int(b[0]):]
}

// Match reports whether the hello was signed with key, and returns the client's time.
// The comparison takes constant time.
//
// The time is not authenticated: it is XORed into the last four bytes of the random,
// whose HMAC is compared with nothing, so that a recorded hello can be replayed with
// another time. A replay cache must therefore use only the first 28 bytes of Random.
func (h *ClientHello) Match(key [16]byte) (clientTime time.Time, ok bool) {
	if len(h.record) == 0 {
		return time.Time{}, false // h is not from ParseClientHello
	}
	mac := digest(&key, nil, h.record)
	if subtle.ConstantTimeCompare(mac[:matchLength], h.Random[:matchLength]) != 1 {
		return time.Time{}, false
	}
	return h.clientTime(&mac), true
}

// MatchAny is Match for many keys. It returns the index of the first key that matches,
// or -1. It tries 16 keys at a time, in a time that does not depend on which of them
// matches.
//
// With AVX2 or AVX-512, each of many keys costs a fraction of a Match. MatchAny borrows
// memory of about five times the length of the hello, for any number of keys.
func (h *ClientHello) MatchAny(keys [][16]byte) (index int, clientTime time.Time) {
	switch {
	case len(h.record) == 0 || len(keys) == 0:
		return -1, time.Time{}
	case len(keys) == 1: // as for the key of a returning address
		if clientTime, ok := h.Match(keys[0]); ok {
			return 0, clientTime
		}
		return -1, time.Time{}
	}
	message := messages.Get().(*multibuffer.Message)
	defer messages.Put(message)
	message.Set(h.record[:randomStart], noRandom[:], h.record[randomEnd:])
	var (
		batch   multibuffer.Batch
		digests multibuffer.Digests
	)
	for start := 0; start < len(keys); start += multibuffer.Width {
		batch.Reset()
		for i := start; i < min(start+multibuffer.Width, len(keys)); i++ {
			batch.Add(&keys[i])
		}
		batch.HMAC(message, &digests)
		if k := digests.Find((*[matchLength]byte)(h.Random[:])); k >= 0 {
			mac := digests.Digest(k)
			return start + k, h.clientTime(&mac)
		}
	}
	return -1, time.Time{}
}

// messages has the memory for MatchAny. An unauthenticated client has its hello tried
// on many keys, a few at a time.
var messages = sync.Pool{New: func() any { return new(multibuffer.Message) }}

// clientTime returns the client's time, given the HMAC under the key that matches.
func (h *ClientHello) clientTime(mac *[32]byte) time.Time {
	seconds := binary.LittleEndian.Uint32(mac[matchLength:]) ^ binary.LittleEndian.Uint32(h.Random[matchLength:])
	return time.Unix(int64(seconds), 0)
}

// signClientHello sets the random of a hello in one record.
func signClientHello(record []byte, key [16]byte, now time.Time) {
	mac := digest(&key, nil, record)
	last := mac[matchLength:]
	binary.LittleEndian.PutUint32(last, binary.LittleEndian.Uint32(last)^uint32(now.Unix()))
	copy(record[randomStart:randomEnd], mac[:])
}
