package faketls

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// Kind is a fingerprint of the parts of a ClientHello that decide how a TLS 1.3
// server answers it, apart from random bytes: the TLS 1.3 cipher suites in their
// order, the groups and the key shares, the ALPN protocols, the signature
// algorithms, and the other extensions with a server_name or without. Hellos of
// one kind get answers of one shape. GREASE, padding and the order of extensions
// make no difference. GREASE values have the form xAxA.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8701#section-2
//
// Kinds are comparable. Their hashes have a random seed, so that they differ from
// process to process and a client cannot construct two hellos of one kind.
type Kind struct {
	suites, shares, groups, alpn, signatures, others uint64
	serverName                                       bool
}

// kindSeed is the seed of all hashes in a Kind.
var kindSeed = maphash.MakeSeed()

// Kind returns the kind of a hello from ParseClientHello.
func (h *ClientHello) Kind() Kind {
	var k Kind
	if len(h.record) == 0 {
		return k
	}
	var hash maphash.Hash
	hash.SetSeed(kindSeed)
	suites, b := vector16(h.record[sessionEnd:])
	for ; len(suites) >= 2; suites = suites[2:] {
		if suites[0] == 0x13 { // those of TLS 1.3
			hash.Write(suites[:2])
		}
	}
	k.suites = hash.Sum64()
	_, b = vector8(b) // compression methods
	all, _ := vector16(b)
	for id, body := range extensions(all) {
		hash.Reset()
		switch id {
		case extensionServerName:
			k.serverName = true
		case extensionPadding:
		case extensionGroups:
			list, _ := vector16(body)
			writeWithoutGREASE(&hash, list)
			k.groups = hash.Sum64()
		case extensionKeyShare:
			shares, _ := vector16(body)
			for group := range extensions(shares) {
				if group&0x0f0f != 0x0a0a {
					hash.Write([]byte{byte(group >> 8), byte(group)})
				}
			}
			k.shares = hash.Sum64()
		case extensionALPN:
			hash.Write(body)
			k.alpn = hash.Sum64()
		case extensionSignatures:
			hash.Write(body)
			k.signatures = hash.Sum64()
		default:
			if id&0x0f0f == 0x0a0a { // GREASE
				continue
			}
			hash.Write([]byte{byte(id >> 8), byte(id)})
			switch {
			case id == extensionVersions:
				list, _ := vector8(body)
				writeWithoutGREASE(&hash, list)
			case slices.Contains(hashedExtensions, id):
				hash.Write(body)
			}
			k.others += hash.Sum64() // clients permute extensions
		}
	}
	return k
}

// hashedExtensions are other extensions on whose bodies a server's answer depends.
// Other bodies, such as that of Encrypted ClientHello, differ each time.
var hashedExtensions = []uint16{
	1,      // max_fragment_length
	5,      // status_request
	19, 20, // client_certificate_type, server_certificate_type
	27,             // compress_certificate
	28,             // record_size_limit
	34,             // delegated_credential
	45,             // psk_key_exchange_modes
	47,             // certificate_authorities
	50,             // signature_algorithms_cert
	0x4469, 0x44cd, // application_settings
}

// writeWithoutGREASE hashes a list of two-byte values.
func writeWithoutGREASE(hash *maphash.Hash, list []byte) {
	for ; len(list) >= 2; list = list[2:] {
		if binary.BigEndian.Uint16(list)&0x0f0f != 0x0a0a {
			hash.Write(list[:2])
		}
	}
}

// Distance returns how different the answers to hellos of two kinds may be: 0 for
// the same kind, and more for a difference in what an observer sees in clear, the
// cipher suite and the key share, than in what changes only a length.
func (k Kind) Distance(other Kind) (distance int) {
	differ := func(different bool, weight int) {
		if different {
			distance += weight
		}
	}
	differ(k.suites != other.suites, 32)
	differ(k.shares != other.shares, 16)
	differ(k.groups != other.groups, 8)
	differ(k.serverName != other.serverName, 4)
	differ(k.alpn != other.alpn, 4)
	differ(k.signatures != other.signatures, 2)
	differ(k.others != other.others, 1)
	return distance
}
