package fronting

import "golang.org/x/crypto/cryptobyte"

// asked returns the name in the ClientHello that a stranger's first bytes are,
// "" if none is there. A hello that a FakeTLS client would never send counts as
// well, that of TLS 1.2 without a session id for one, and so does one of which
// only a part has come.
//
// Specification: https://www.rfc-editor.org/rfc/rfc6066#section-3
func asked(first []byte) string {
	const (
		handshake   = 22
		clientHello = 1
		serverName  = 0
		hostName    = 0
	)
	var message, skipped, body cryptobyte.String
	var kind uint8
	var length, id uint16
	for records := cryptobyte.String(first); records.ReadUint8(&kind) && kind == handshake && records.Skip(2) && records.ReadUint16(&length); {
		n := min(int(length), len(records))
		message = append(message, records[:n]...)
		records.Skip(n)
	}
	if !message.ReadUint8(&kind) || kind != clientHello ||
		!message.Skip(3+2+32) || // length, version, random
		!message.ReadUint8LengthPrefixed(&skipped) || // session id
		!message.ReadUint16LengthPrefixed(&skipped) || // suites
		!message.ReadUint8LengthPrefixed(&skipped) || // compression methods
		!message.Skip(2) { // length of the extensions
		return ""
	}
	for message.ReadUint16(&id) && message.ReadUint16LengthPrefixed(&body) {
		if id != serverName {
			continue
		}
		var names, name cryptobyte.String
		if body.ReadUint16LengthPrefixed(&names) && names.ReadUint8(&kind) && kind == hostName && names.ReadUint16LengthPrefixed(&name) {
			return string(name)
		}
	}
	return ""
}
