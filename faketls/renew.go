package faketls

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"encoding/binary"
	"errors"
)

// Extensions whose bodies Renew replaces, in addition to the key shares.
const (
	extensionSessionTicket = 35
	extensionPreSharedKey  = 41
	extensionECH           = 0xfe0d
	extensionECHOfTDLib    = 0xfe02 // of TDLib before April 2026
)

var errNotParsed = errors.New("faketls: the ClientHello is not from ParseClientHello")

// Renew returns a ClientHello, in one record, that the client of h might send for
// another connection, to domain: of the same Kind and with the same extensions in
// their order, with a new random, session ID and key shares, and other random
// bytes in place of a ticket and of Encrypted ClientHello. Any TLS server answers
// it. If h has no server_name, the new hello has none. Nothing in it is secret or
// can be linked to h, except for its GREASE values.
//
// The private keys are dropped, so the handshake cannot be completed. Key shares
// for groups that this package does not know stay as they are.
//
// It is an error if h is not from ParseClientHello, if the hello with domain has more than
// 16384 bytes, or if no key share can be made.
func (h *ClientHello) Renew(domain string) ([]byte, error) {
	if len(h.record) == 0 {
		return nil, errNotParsed
	}
	record := append(make([]byte, 0, len(h.record)+len(domain)), h.record...)
	rand.Read(record[randomStart:randomEnd])
	rand.Read(record[sessionEnd-sessionIDLength : sessionEnd])

	suites, b := vector16(record[sessionEnd:])
	compression, b := vector8(b)
	list, rest := vector16(b)
	start := sessionEnd + 2 + len(suites) + 1 + len(compression) + 2
	if suites == nil || compression == nil || list == nil {
		return record, nil // there is nothing that a server could read
	}
	out := append(make([]byte, 0, cap(record)), record[:start]...)
	read := 0
	for id, body := range extensions(list) {
		read += extensionHeaderLength + len(body)
		if id == extensionServerName {
			body = appendServerName(nil, domain)
		}
		out = binary.BigEndian.AppendUint16(out, id)
		out = binary.BigEndian.AppendUint16(out, uint16(len(body)))
		out = append(out, body...)
		if err := renewExtension(id, out[len(out)-len(body):]); err != nil {
			return nil, err
		}
	}
	out = append(out, list[read:]...) // what is malformed
	binary.BigEndian.PutUint16(out[start-2:], uint16(len(out)-start))
	out = append(out, rest...)
	message := len(out) - RecordHeaderLength
	if message > maxPlaintext {
		return nil, malformed("ClientHello: message of %d bytes with another domain, limit %d", message, maxPlaintext)
	}
	binary.BigEndian.PutUint16(out[3:], uint16(message))
	binary.BigEndian.PutUint16(out[7:], uint16(message-handshakeHeaderLength))
	return out, nil
}

// renewExtension replaces the random parts of an extension's body in place.
func renewExtension(id uint16, body []byte) error {
	switch id {
	case extensionKeyShare:
		shares, _ := vector16(body)
		for group, share := range extensions(shares) {
			if g := findGroup(group); g != nil && len(share) == g.clientShare() {
				if err := g.newClientShare(share); err != nil {
					return err
				}
			}
		}
	case extensionSessionTicket:
		rand.Read(body)
	case extensionPreSharedKey:
		renewPreSharedKey(body)
	case extensionECH, extensionECHOfTDLib:
		return renewECH(body)
	}
	return nil
}

// renewECH makes an Encrypted ClientHello that no server can decrypt: a new
// config_id, encapsulated key and payload.
//
//	0  1  00, outer
//	1  4  KDF, AEAD
//	5  1  config_id
//	6  .  u16 length, encapsulated key
//	.  .  u16 length, payload
//
// Specification: https://www.rfc-editor.org/rfc/rfc9849#section-5
func renewECH(body []byte) error {
	const configID = 5
	if len(body) <= configID+1 || body[0] != 0 {
		return nil
	}
	key, rest := vector16(body[configID+1:])
	payload, _ := vector16(rest)
	rand.Read(body[configID : configID+1])
	rand.Read(key)
	rand.Read(payload)
	if len(key) != x25519Share {
		return nil
	}
	return newECDHShare(ecdh.X25519(), key)
}

// renewPreSharedKey makes an offer of tickets that no server knows.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.2.11
func renewPreSharedKey(body []byte) {
	identities, rest := vector16(body)
	for len(identities) > 0 {
		identity, next := vector16(identities)
		if identity == nil || len(next) < 4 {
			break
		}
		rand.Read(identity)
		rand.Read(next[:4]) // obfuscated_ticket_age
		identities = next[4:]
	}
	for binders, _ := vector16(rest); len(binders) > 0; {
		binder, next := vector8(binders)
		rand.Read(binder)
		binders = next
	}
}

func newECDHShare(curve ecdh.Curve, dst []byte) error {
	key, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	copy(dst, key.PublicKey().Bytes())
	return nil
}

// newClientShare makes a client's key share for g in dst.
func (g *group) newClientShare(dst []byte) error {
	curveShare, kem := dst[:g.curveShare], dst[g.curveShare:]
	if g.kemFirst {
		kem, curveShare = dst[:g.clientKEM], dst[g.clientKEM:]
	}
	switch g.clientKEM {
	case mlkem.EncapsulationKeySize768:
		key, err := mlkem.GenerateKey768()
		if err != nil {
			return err
		}
		copy(kem, key.EncapsulationKey().Bytes())
	case mlkem.EncapsulationKeySize1024:
		key, err := mlkem.GenerateKey1024()
		if err != nil {
			return err
		}
		copy(kem, key.EncapsulationKey().Bytes())
	}
	return newECDHShare(g.curve, curveShare)
}
