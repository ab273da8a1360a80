// Package stun asks a STUN server which address this machine has on the internet.
// It has the Binding request and its response, and no more of STUN.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8489
package stun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// A message is a header of 20 bytes and attributes:
//
//	type      2 bytes, 0001 for a Binding request, 0101 for its success response
//	length    2 bytes, of the attributes
//	cookie    4 bytes, 2112a442
//	id        12 bytes, random, the same in request and response
//
// An attribute is a type and a length of 2 bytes each, and a value that is padded to
// a multiple of four bytes. The address attributes have the value
//
//	0         1 byte
//	family    1 byte, 1 for IPv4, 2 for IPv6
//	port      2 bytes
//	address   4 or 16 bytes
//
// In XOR-MAPPED-ADDRESS, port and address are XORed with cookie and id.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8489#section-5
const (
	headerLength = 20
	cookie       = 0x2112a442

	bindingRequest = 0x0001
	bindingSuccess = 0x0101
	bindingError   = 0x0111

	mappedAddress    = 0x0001
	xorMappedAddress = 0x0020

	familyIPv4 = 1
	familyIPv6 = 2
)

// TransactionID is what a request and its response have in common. It is random, so
// that a third party cannot forge the response.
type TransactionID [12]byte

// AppendRequest appends a Binding request, of 20 bytes.
func AppendRequest(dst []byte, id TransactionID) []byte {
	dst = binary.BigEndian.AppendUint16(dst, bindingRequest)
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, cookie)
	return append(dst, id[:]...)
}

// errOther is the error of a message that is not the response to the request: it
// may be a late one, or forged, and the response may still come.
var errOther = errors.New("not the response to this request")

// ParseResponse returns the address in a Binding success response: the client's, as
// the server saw it. The response must have the request's id. XOR-MAPPED-ADDRESS
// comes before MAPPED-ADDRESS, which some routers rewrite.
func ParseResponse(b []byte, id TransactionID) (netip.AddrPort, error) {
	if len(b) < headerLength || binary.BigEndian.Uint32(b[4:]) != cookie || TransactionID(b[8:20]) != id {
		return netip.AddrPort{}, errOther
	}
	switch binary.BigEndian.Uint16(b) {
	case bindingSuccess:
	case bindingError:
		return netip.AddrPort{}, errors.New("the STUN server refuses the request")
	default:
		return netip.AddrPort{}, errOther
	}
	attributes := b[headerLength:]
	if int(binary.BigEndian.Uint16(b[2:])) != len(attributes) {
		return netip.AddrPort{}, errors.New("bad STUN response: the length is not that of its attributes")
	}
	var plain, xored netip.AddrPort
	for len(attributes) > 0 {
		kind, value, rest, err := cutAttribute(attributes)
		if err != nil {
			return netip.AddrPort{}, err
		}
		attributes = rest
		switch kind {
		case mappedAddress:
			plain, err = parseAddress(value, nil)
		case xorMappedAddress:
			xored, err = parseAddress(value, b[4:headerLength])
		}
		if err != nil {
			return netip.AddrPort{}, err
		}
	}
	switch {
	case xored.IsValid():
		return xored, nil
	case plain.IsValid():
		return plain, nil
	}
	return netip.AddrPort{}, errors.New("bad STUN response: no address")
}

// cutAttribute returns the first attribute of b, and what follows it.
func cutAttribute(b []byte) (kind uint16, value, rest []byte, err error) {
	if len(b) < 4 {
		return 0, nil, nil, errors.New("bad STUN response: half an attribute")
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	padded := 4 + (length+3)&^3
	if padded > len(b) {
		return 0, nil, nil, fmt.Errorf("bad STUN response: an attribute of %d bytes, and %d are left", length, len(b)-4)
	}
	return binary.BigEndian.Uint16(b), b[4 : 4+length], b[padded:], nil
}

// parseAddress parses the value of an address attribute, XORed with mask unless
// that is nil.
func parseAddress(value, mask []byte) (netip.AddrPort, error) {
	length := 0
	if len(value) >= 4 {
		switch value[1] {
		case familyIPv4:
			length = 4
		case familyIPv6:
			length = 16
		}
	}
	if length == 0 || len(value) != 4+length {
		return netip.AddrPort{}, errors.New("bad STUN response: an address of no known family")
	}
	port, address := binary.BigEndian.Uint16(value[2:]), append([]byte(nil), value[4:]...)
	if mask != nil {
		port ^= cookie >> 16
		for i := range address {
			address[i] ^= mask[i]
		}
	}
	ip, _ := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(ip.Unmap(), port), nil
}
