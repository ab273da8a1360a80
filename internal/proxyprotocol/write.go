package proxyprotocol

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Version is the version of the PROXY protocol headers that are sent to a server.
type Version uint8

// The versions.
const (
	None Version = iota // no header
	V1                  // a line of text
	V2                  // binary
)

// Append appends the header of a connection from source to destination. If only
// the destination is not valid, it is written as 0.0.0.0 or [::], port 0. If the
// source is not valid, the header is LOCAL or, in version 1, UNKNOWN: the
// connection has no client, or the client's address is not known.
func (v Version) Append(dst []byte, source, destination netip.AddrPort) []byte {
	if v == None {
		return dst
	}
	if !destination.IsValid() {
		destination = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		if source.Addr().Unmap().Is4() {
			destination = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		}
	}
	var from net.Addr
	if source.IsValid() {
		from = net.TCPAddrFromAddrPort(source)
	}
	header, err := proxyproto.HeaderProxyFromAddrs(byte(v), from, net.TCPAddrFromAddrPort(destination)).Format()
	if err != nil {
		panic("internal error: PROXY protocol header: " + err.Error()) // two TCP addresses have a header
	}
	return append(dst, header...)
}

// Trim returns b without the header at its beginning, or b if there is none.
func Trim(b []byte) []byte {
	header, err := readHeader(bytes.NewReader(b))
	if err != nil {
		return b
	}
	return b[len(header):]
}
