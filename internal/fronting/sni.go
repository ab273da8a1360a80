package fronting

import "golang.org/x/crypto/cryptobyte"

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
