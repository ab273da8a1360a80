package faketls

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
)

// The layout of a server's flight, three records: ServerHello, ChangeCipherSpec and
// ApplicationData. Clients check the record headers, the two lengths and the digest.
// The rest is only for observers on the wire.
//
//	 0  5  16 03 03, length
//	 5  4  02, u24 length
//	 9  2  03 03
//	11 32  digest: HMAC of the client's random and the flight, with zeros here
//	43 33  20, the client's session ID
//	76  2  cipher suite
//	78  1  00, no compression
//	79  2  length of the extensions: key_share and supported_versions
//	 .  6  14 03 03 00 01 01
//	 .  5  17 03 03, length
//	 .  .  random bytes, in place of TLS 1.3's encrypted certificates
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.1.3
const (
	// supportedVersions is the supported_versions extension with TLS 1.3.
	supportedVersions = "\x00\x2b\x00\x02\x03\x04"

	defaultCipherSuite = 0x1301 // TLS_AES_128_GCM_SHA256

	// By default, the data record has about the size of a usual chain of two
	// certificates.
	minFlightData    = 2048
	flightDataSpread = 2049

	// maxFlightData is the longest body of an encrypted record in TLS 1.3.
	maxFlightData = maxPlaintext + 256

	// maxHandshakeRecords is the number of handshake records that a client accepts
	// before the ChangeCipherSpec. Proxies send one.
	maxHandshakeRecords = 16
)

// ServerHelloShape is what an observer on the wire sees of a server's flight, as
// far as the client does not determine it. A server in front of a real site
// imitates that site's own flight. The zero value is a good choice.
type ServerHelloShape struct {
	// DataSize is the length of the data record's body in bytes, at most
	// 16640. 0 means a random length from 2048 to 4096.
	DataSize int

	// CipherSuite is used with clients that offer it. Otherwise, and if it is
	// 0, the suite is the first TLS 1.3 suite that the client offers, or 1301
	// if it offers none.
	CipherSuite uint16

	// Group is the key exchange group of the key share, for clients that send a
	// share for it: X25519 (001d), X25519MLKEM768 (11ec), P-256, P-384 and P-521
	// (0017 to 0019), SecP256r1MLKEM768 (11eb) or SecP384r1MLKEM1024 (11ed). 0
	// means X25519MLKEM768. For other clients, and if it is another group, the
	// key share is X25519.
	Group uint16

	// VersionsFirst puts the supported_versions extension ahead of key_share,
	// as OpenSSL and Go do, and BoringSSL does not.
	VersionsFirst bool
}

// AppendServerHello appends the flight that answers hello, signed with key:
// ServerHello, ChangeCipherSpec and one ApplicationData record. Clients accept no
// other records under the digest. random is the source of random bytes and of a key
// pair whose public half is the share. Nil means bytes that look random, from a cipher
// whose key is crypto/rand's, and a share without a private half: nothing in the flight
// is a secret.
//
// The server must send nothing after the flight before it has received the client's
// next bytes: Telegram for Android computes the digest over all bytes that it has
// read.
func AppendServerHello(dst []byte, hello *ClientHello, key [16]byte, shape ServerHelloShape, random io.Reader) ([]byte, error) {
	dataSize := shape.DataSize
	if dataSize == 0 {
		var b [2]byte
		if err := fillRandom(b[:], random); err != nil {
			return dst, fmt.Errorf("faketls: random bytes for a ServerHello: %w", err)
		}
		dataSize = minFlightData + int(binary.BigEndian.Uint16(b[:]))%flightDataSpread
	}
	if dataSize < 0 || dataSize > maxFlightData {
		return dst, fmt.Errorf("faketls: data record of %d bytes in the server's flight, want 1 to %d", dataSize, maxFlightData)
	}

	start := len(dst)
	flight, err := appendServerHelloRecord(dst, hello, shape, random)
	if err != nil {
		return dst, fmt.Errorf("faketls: random bytes for a ServerHello: %w", err)
	}
	flight = append(flight, changeCipherSpec...)
	flight = AppendRecordHeader(flight, dataSize)
	flight, err = appendRandom(flight, dataSize, random)
	if err != nil {
		return dst, fmt.Errorf("faketls: random bytes for a ServerHello: %w", err)
	}
	signServerHello(flight[start:], hello.Random, key)
	return flight, nil
}

func appendServerHelloRecord(dst []byte, hello *ClientHello, shape ServerHelloShape, random io.Reader) (_ []byte, err error) {
	group := hello.chooseGroup(shape.Group)
	share := group.serverShare()
	suite := hello.CipherSuite
	switch {
	case hello.offers(shape.CipherSuite):
		suite = shape.CipherSuite
	case suite == 0:
		suite = defaultCipherSuite
	}
	keyShare := 4 + share // group, length, key
	extensions := 4 + keyShare + len(supportedVersions)
	body := sessionEnd - randomStart + 2 + 2 + 1 + 2 + extensions

	be := binary.BigEndian
	dst = append(dst, byte(RecordHandshake), 3, 3)
	dst = be.AppendUint16(dst, uint16(handshakeHeaderLength+body))
	dst = append(dst, serverHelloType, 0)
	dst = be.AppendUint16(dst, uint16(body))
	dst = append(dst, 3, 3)
	dst = append(dst, make([]byte, randomEnd-randomStart)...)
	dst = append(dst, sessionIDLength)
	dst = append(dst, hello.SessionID[:]...)
	dst = be.AppendUint16(dst, suite)
	dst = append(dst, 0)
	dst = be.AppendUint16(dst, uint16(extensions))
	if shape.VersionsFirst {
		dst = append(dst, supportedVersions...)
	}
	dst = be.AppendUint16(dst, extensionKeyShare)
	dst = be.AppendUint16(dst, uint16(keyShare))
	dst = be.AppendUint16(dst, group.id)
	dst = be.AppendUint16(dst, uint16(share))
	if dst, err = group.appendServerShare(dst, random); err != nil {
		return nil, err
	}
	if !shape.VersionsFirst {
		dst = append(dst, supportedVersions...)
	}
	return dst, nil
}

// chooseGroup returns the group of the server's key share.
func (h *ClientHello) chooseGroup(id uint16) *group {
	switch {
	case id == 0 && h.MLKEM:
		return findGroup(groupX25519MLKEM768)
	case h.hasShare(id):
		return findGroup(id)
	}
	return x25519
}

// signServerHello sets the digest of a flight.
func signServerHello(flight []byte, clientRandom [32]byte, key [16]byte) {
	mac := digest(&key, clientRandom[:], flight)
	copy(flight[randomStart:randomEnd], mac[:])
}

// VerifyServerHello verifies the server's flight at the start of b and returns its
// length n in bytes. clientRandom is bytes 11..43 of the ClientHello, as sent.
//
// With ErrIncomplete, n is the length that b must have at least before another call
// can succeed. A caller that reads up to n bytes never reads beyond the flight.
// ErrNoMatch means that the flight is not signed with key. A record out of place, such
// as an alert, is a *RecordError, which is ErrMalformed.
//
// The flight ends with the first ApplicationData record. Up to 16 handshake records
// may precede the ChangeCipherSpec.
func VerifyServerHello(b []byte, key [16]byte, clientRandom [32]byte) (n int, err error) {
	for progress := (flightProgress{}); !progress.end; {
		header := b[n:]
		if len(header) < RecordHeaderLength {
			return n + RecordHeaderLength, ErrIncomplete
		}
		header = header[:RecordHeaderLength]
		if err := progress.next(header); err != nil {
			return 0, err
		}
		n += RecordHeaderLength + int(binary.BigEndian.Uint16(header[3:]))
		if len(b) < n {
			return n, ErrIncomplete
		}
	}
	mac := digest(&key, clientRandom[:], b[:n])
	if subtle.ConstantTimeCompare(mac[:], b[randomStart:randomEnd]) != 1 {
		return 0, ErrNoMatch
	}
	return n, nil
}

// flightProgress is the position in the sequence of a flight's records.
type flightProgress struct {
	handshakes int
	ccs, end   bool
}

// next checks the header of the next record and advances p.
func (p *flightProgress) next(header []byte) error {
	length := int(binary.BigEndian.Uint16(header[3:]))
	if header[1] != 3 || header[2] != 3 {
		return recordError(header, "version is not 03 03")
	}
	switch t := RecordType(header[0]); {
	case t == RecordAlert:
		return recordError(header, "server sent an alert instead of its hello")
	case t == RecordHandshake && !p.ccs && p.handshakes < maxHandshakeRecords:
		if length > maxPlaintext {
			return recordError(header, "handshake record of %d bytes, limit %d", length, maxPlaintext)
		}
		if p.handshakes == 0 && length < randomEnd-RecordHeaderLength {
			return recordError(header, "ServerHello of %d bytes has no room for its random", length)
		}
		p.handshakes++
	case t == RecordChangeCipherSpec && !p.ccs && p.handshakes > 0:
		if length != 1 {
			return recordError(header, "ChangeCipherSpec has %d bytes, want 1", length)
		}
		p.ccs = true
	case t == RecordApplicationData && p.ccs:
		p.end = true
	default:
		return recordError(header, "type is out of place in the server's flight")
	}
	return nil
}
