package fronting

import "golang.org/x/crypto/cryptobyte"

// ServerName returns the server name (SNI) of the ClientHello in a client's first bytes,
// "" if there is none.
func ServerName(first []byte) string { return serverName(first) }

// PartialHello looks at a client's first bytes while they grow, each once: a hello may come
// in thousands of records, a byte at a time. It keeps none of them.
type PartialHello struct {
	record  int     // where the record begins that is not whole
	taken   int     // bytes of its payload that are in message
	message int     // bytes that have come of it
	head    [4]byte // the first of these: the type and the length
	looked  int     // bytes of message and more when the name was looked for last
}

// MaxPartialHello is how many bytes of a client may be a part of a ClientHello, with the headers
// of its records. BoringSSL takes a message as long; hellos of browsers have up to 3 KiB.
const MaxPartialHello = 16 << 10

// IsPartial reports whether first is the beginning of a ClientHello, in one record or
// several, whose server name is still to come. first begins with the bytes of the calls
// before. A name may be noticed late, up to 256 bytes of the message after it.
func (p *PartialHello) IsPartial(first []byte) bool {
	for {
		rest := first[p.record:]
		if len(rest) < 5 {
			return (len(rest) == 0 || rest[0] == 22) && p.lacksName(first)
		}
		n := int(rest[3])<<8 | int(rest[4])
		if rest[0] != 22 || rest[1] != 3 || n == 0 {
			return false
		}
		end := min(n, len(rest)-5)
		if p.message < len(p.head) {
			copy(p.head[p.message:], rest[5+p.taken:5+end])
		}
		p.message += end - p.taken
		p.taken = end
		m := p.head
		if p.message > 0 && m[0] != 1 {
			return false
		}
		if p.message >= 4 && p.message >= 4+(int(m[1])<<16|int(m[2])<<8|int(m[3])) {
			return false
		}
		if end < n {
			return p.lacksName(first)
		}
		p.record, p.taken = p.record+5+n, 0
	}
}

// lacksName reports whether the name of a hello that is not whole is still to come.
func (p *PartialHello) lacksName(first []byte) bool {
	const step = 256
	if len(first) == 0 || len(first) >= MaxPartialHello {
		return false
	}
	if p.message < p.looked {
		return true
	}
	p.looked = p.message + step
	return serverName(first) == ""
}

// serverName returns the server name (SNI) of the ClientHello in a client's first
// bytes, "" if there is none. It is more lenient than a FakeTLS server: it takes
// an incomplete ClientHello, one in several records, and one without a session
// ID, as for TLS 1.2.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6066#section-3
func serverName(first []byte) string {
	const (
		recordHandshake     = 22
		messageClientHello  = 1
		extensionServerName = 0
		nameTypeHostName    = 0
	)
	var message, skipped, body cryptobyte.String
	var kind uint8
	var length, id uint16
	for records := cryptobyte.String(first); records.ReadUint8(&kind) && kind == recordHandshake && records.Skip(2) && records.ReadUint16(&length); {
		n := min(int(length), len(records))
		message = append(message, records[:n]...)
		records.Skip(n)
	}
	if !message.ReadUint8(&kind) || kind != messageClientHello ||
		!message.Skip(3+2+32) || // length, version, random
		!message.ReadUint8LengthPrefixed(&skipped) || // session ID
		!message.ReadUint16LengthPrefixed(&skipped) || // cipher suites
		!message.ReadUint8LengthPrefixed(&skipped) || // compression methods
		!message.Skip(2) { // length of the extensions
		return ""
	}
	for message.ReadUint16(&id) && message.ReadUint16LengthPrefixed(&body) {
		if id != extensionServerName {
			continue
		}
		var names, name cryptobyte.String
		if body.ReadUint16LengthPrefixed(&names) && names.ReadUint8(&kind) && kind == nameTypeHostName && names.ReadUint16LengthPrefixed(&name) {
			return string(name)
		}
	}
	return ""
}
