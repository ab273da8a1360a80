package tlswire

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

const (
	typeServerHello = 2

	extensionALPN              = 16
	extensionSupportedVersions = 43
	extensionKeyShare          = 51
)

// helloRetryRequest is the random of a ServerHello that is a HelloRetryRequest.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.1.3
var helloRetryRequest = sha256.Sum256([]byte("HelloRetryRequest"))

var errServerHello = errors.New("not a ServerHello")

// Extension is an extension of a ServerHello.
type Extension struct {
	ID   uint16
	Body []byte
}

// ServerHello is a server's first handshake message. Its slices refer to the bytes
// it was parsed from.
type ServerHello struct {
	Version    uint16 // legacy_version
	Random     [32]byte
	SessionID  []byte
	Suite      uint16
	Extensions []Extension
}

// ParseServerHello parses a handshake message, header included.
func ParseServerHello(message []byte) (h ServerHello, err error) {
	s := cryptobyte.String(message)
	var (
		kind, compression     uint8
		body                  cryptobyte.String
		random                []byte
		sessionID, extensions cryptobyte.String
	)
	if !s.ReadUint8(&kind) || kind != typeServerHello || !s.ReadUint24LengthPrefixed(&body) ||
		!body.ReadUint16(&h.Version) || !body.ReadBytes(&random, len(h.Random)) ||
		!body.ReadUint8LengthPrefixed(&sessionID) || !body.ReadUint16(&h.Suite) || !body.ReadUint8(&compression) {
		return h, errServerHello
	}
	h.Random, h.SessionID = [32]byte(random), sessionID
	if body.Empty() { // without extensions there is no length either
		return h, nil
	}
	if !body.ReadUint16LengthPrefixed(&extensions) || !body.Empty() {
		return h, errServerHello
	}
	for !extensions.Empty() {
		var e Extension
		var body cryptobyte.String
		if !extensions.ReadUint16(&e.ID) || !extensions.ReadUint16LengthPrefixed(&body) {
			return h, errServerHello
		}
		e.Body = body
		h.Extensions = append(h.Extensions, e)
	}
	return h, nil
}

// FirstServerHello returns the ServerHello at the beginning of a server's bytes.
func FirstServerHello(b []byte) (ServerHello, error) {
	records, _ := Records(b)
	var messages []byte
	for _, r := range records {
		if r.Type != TypeHandshake {
			break
		}
		messages = append(messages, r.Body...)
		if len(messages) >= 4 {
			if n := 4 + int(binary.BigEndian.Uint32(messages)&0xffffff); len(messages) >= n {
				return ParseServerHello(messages[:n])
			}
		}
	}
	return ServerHello{}, errServerHello
}

// IsRetry reports whether h is a HelloRetryRequest.
func (h ServerHello) IsRetry() bool { return h.Random == helloRetryRequest }

func (h ServerHello) extension(id uint16) []byte {
	for _, e := range h.Extensions {
		if e.ID == id {
			return e.Body
		}
	}
	return nil
}

// negotiated returns the version of the protocol.
func (h ServerHello) negotiated() uint16 {
	if v := h.extension(extensionSupportedVersions); len(v) == 2 {
		return binary.BigEndian.Uint16(v)
	}
	return h.Version
}

// JA3SText returns the text whose MD5 is the JA3S fingerprint: the legacy version,
// the cipher suite and the extensions in their order, in decimal.
//
// Specification: https://engineering.salesforce.com/tls-fingerprinting-with-ja3-and-ja3s-247362855967
func (h ServerHello) JA3SText() string {
	var ids []string
	for _, e := range h.Extensions {
		ids = append(ids, fmt.Sprint(e.ID))
	}
	return fmt.Sprintf("%d,%d,%s", h.Version, h.Suite, strings.Join(ids, "-"))
}

// JA3S returns the JA3S fingerprint.
func (h ServerHello) JA3S() string {
	sum := md5.Sum([]byte(h.JA3SText()))
	return hex.EncodeToString(sum[:])
}

// JA4S returns the JA4S fingerprint, a method of FoxIO.
//
// Specification: https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4S.md
func (h ServerHello) JA4S() string {
	version, ok := map[uint16]string{0x0300: "s3", 0x0301: "10", 0x0302: "11", 0x0303: "12", 0x0304: "13"}[h.negotiated()]
	if !ok {
		version = "00"
	}
	var ids []string
	for _, e := range h.Extensions {
		ids = append(ids, fmt.Sprintf("%04x", e.ID))
	}
	alpn := "00"
	if v := h.extension(extensionALPN); len(v) > 3 { // two lengths and the name
		alpn = string([]byte{v[3], v[len(v)-1]})
	}
	hash := "000000000000"
	if len(ids) > 0 {
		sum := sha256.Sum256([]byte(strings.Join(ids, ",")))
		hash = hex.EncodeToString(sum[:6])
	}
	return fmt.Sprintf("t%s%02d%s_%04x_%s", version, min(len(ids), 99), alpn, h.Suite, hash)
}
