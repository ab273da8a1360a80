package faketls

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"io"
)

const (
	groupX25519         = 0x001d
	groupX25519MLKEM768 = 0x11ec

	x25519Share = 32
)

// group is a key exchange group: an elliptic curve, alone or with ML-KEM. A key
// share has a part for each.
//
// Specification: https://www.iana.org/assignments/tls-parameters#tls-parameters-8
type group struct {
	id         uint16
	curve      ecdh.Curve
	curveShare int
	kemFirst   bool
	clientKEM  int // length of the encapsulation key, which a client sends, or 0
	serverKEM  int // length of the ciphertext, which a server sends, or 0
}

// groups are those that this package can make key shares for. ClientHello.groups
// has their indexes.
var groups = [...]group{
	{id: groupX25519, curve: ecdh.X25519(), curveShare: x25519Share},
	{id: groupX25519MLKEM768, curve: ecdh.X25519(), curveShare: x25519Share, kemFirst: true,
		clientKEM: mlkem.EncapsulationKeySize768, serverKEM: mlkem.CiphertextSize768},
	{id: 0x0017, curve: ecdh.P256(), curveShare: 65},
	{id: 0x0018, curve: ecdh.P384(), curveShare: 97},
	{id: 0x0019, curve: ecdh.P521(), curveShare: 133},
	{id: 0x11eb, curve: ecdh.P256(), curveShare: 65, // SecP256r1MLKEM768
		clientKEM: mlkem.EncapsulationKeySize768, serverKEM: mlkem.CiphertextSize768},
	{id: 0x11ed, curve: ecdh.P384(), curveShare: 97, // SecP384r1MLKEM1024
		clientKEM: mlkem.EncapsulationKeySize1024, serverKEM: mlkem.CiphertextSize1024},
}

var x25519 = &groups[0]

func (g *group) clientShare() int { return g.clientKEM + g.curveShare }
func (g *group) serverShare() int { return g.serverKEM + g.curveShare }

// findGroup returns the group of that number, nil if it is not known.
func findGroup(id uint16) *group {
	for i := range groups {
		if groups[i].id == id {
			return &groups[i]
		}
	}
	return nil
}

// appendServerShare appends a server's key share for g and drops the private key.
func (g *group) appendServerShare(dst []byte, random io.Reader) (_ []byte, err error) {
	// Any bytes of the right length are a valid ML-KEM ciphertext, since its
	// coefficients use every bit. Half of all 32-byte strings are not on Curve25519.
	if g.kemFirst {
		if dst, err = appendRandom(dst, g.serverKEM, random); err != nil {
			return nil, err
		}
	}
	if g.curve == x25519.curve {
		dst, err = appendX25519(dst, random)
	} else {
		dst, err = appendPoint(dst, g.curve, random)
	}
	if err == nil && !g.kemFirst {
		dst, err = appendRandom(dst, g.serverKEM, random)
	}
	return dst, err
}

// appendPoint appends a new public key on a NIST curve and drops the private key.
func appendPoint(dst []byte, curve ecdh.Curve, random io.Reader) ([]byte, error) {
	if random == nil {
		random = rand.Reader
	}
	key, err := curve.GenerateKey(random)
	if err != nil {
		return nil, err
	}
	return append(dst, key.PublicKey().Bytes()...), nil
}
