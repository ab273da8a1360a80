package fronting

import "golang.org/x/crypto/cryptobyte"

// ServerName returns the server name (SNI) of the ClientHello in a client's first bytes,
// "" if there is none.
func ServerName(first []byte) string { return serverName(first) }

// IsPartialHello reports whether first is the beginning of a ClientHello, in one record or
// several, whose server name is still to come.
func IsPartialHello(first []byte) bool {
	const most = 64 << 10
	var length int // of the message
	var message []byte
	for rest := first; ; {
		if len(rest) < 5 {
			return len(first) < most && (len(rest) == 0 || rest[0] == 22) && len(first) > 0 && serverName(first) == ""
		}
		n := int(rest[3])<<8 | int(rest[4])
		if rest[0] != 22 || rest[1] != 3 || n == 0 {
			return false
		}
		n = min(n, len(rest)-5)
		message = append(message, rest[5:5+n]...)
		rest = rest[5+n:]
		if len(message) > 0 && message[0] != 1 {
			return false
		}
		if len(message) >= 4 {
			length = 4 + (int(message[1])<<16 | int(message[2])<<8 | int(message[3]))
			if len(message) >= length {
				return false
			}
		}
	}
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
