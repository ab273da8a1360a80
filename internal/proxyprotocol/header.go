// Package proxyprotocol reads and writes PROXY protocol headers, versions 1 and 2,
// in which a load balancer or reverse proxy passes on the client's address. It reads
// no byte after the header, so no buffer stays in front of the socket: the handshake
// and splice(2) use the bare socket afterwards.
//
// Specification: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
package proxyprotocol

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// The lengths of headers, in bytes.
const (
	// minLength is the length of the shortest header, PROXY UNKNOWN with CRLF: the
	// number of bytes that can be read before the version is known.
	minLength = 15
	// maxV1Length is the length of the longest line that the specification allows.
	maxV1Length = 107
	// v2Length is the length of a version 2 header without the bytes that its
	// length field counts.
	v2Length = 16
	// maxV2Length limits the length field. Addresses take 216 bytes at most. The
	// rest are TLVs, of which a client certificate is the longest.
	maxV2Length = 4096
)

var (
	// ErrNoHeader is returned when the first bytes are no PROXY protocol header.
	ErrNoHeader = errors.New("no PROXY protocol header")
	// ErrMalformed is returned for a header that violates the specification.
	ErrMalformed = errors.New("malformed PROXY protocol header")
)

// Read reads a PROXY protocol header, version 1 or 2, from the beginning of conn
// and returns the client's address. If the header is LOCAL, UNKNOWN or UNSPEC, it
// returns conn's remote address: the connection is the load balancer's own, for
// example a health check, or the load balancer does not know its source. If the client's address is a Unix socket's, it returns the zero
// AddrPort. An IPv4-mapped IPv6 address is returned as IPv4.
//
// Read reads not one byte after the header. It sets no deadline; if the caller's
// passes, it returns the connection's error. It returns io.EOF if the connection
// ends before the first byte, and io.ErrUnexpectedEOF if it ends in the header.
// After an error the connection is unusable.
//
// Errors contain nothing of the header.
func Read(conn net.Conn) (netip.AddrPort, error) {
	source, _, err := ReadAddresses(conn)
	return source, err
}

// ReadAddresses is Read, and returns the address that the client has connected to as well:
// conn's local address where Read returns the remote one.
func ReadAddresses(conn net.Conn) (source, destination netip.AddrPort, err error) {
	header, err := readHeader(conn)
	if err != nil {
		return source, destination, err
	}
	return addresses(header, conn)
}

// readHeader reads one header and not one byte more, in the fewest calls possible.
func readHeader(r io.Reader) ([]byte, error) {
	header := make([]byte, minLength, maxV1Length)
	n, err := io.ReadFull(r, header)
	v1, v2 := agree(header[:n], "PROXY "), agree(header[:n], string(proxyproto.SIGV2))
	switch {
	case n > 0 && !v1 && !v2:
		return nil, ErrNoHeader
	case err != nil:
		return nil, err
	case v2:
		return readV2(r, header)
	}
	return readV1(r, header)
}

// agree reports whether b and signature are equal in as many bytes as both have.
func agree(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

// readV1 reads up to the end of the line. Only the line feed tells the length, so
// readV1 reads one byte at a time.
func readV1(r io.Reader, header []byte) ([]byte, error) {
	if bytes.IndexByte(header[:minLength-1], '\n') >= 0 {
		return nil, fmt.Errorf("%w: version 1 line too short", ErrMalformed)
	}
	for header[len(header)-1] != '\n' {
		if len(header) == maxV1Length {
			return nil, fmt.Errorf("%w: version 1 line longer than %d bytes", ErrMalformed, maxV1Length)
		}
		header = header[:len(header)+1]
		if _, err := io.ReadFull(r, header[len(header)-1:]); err != nil {
			return nil, truncated(err)
		}
	}
	return header, nil
}

// readV2 reads the last byte of the length, and then that many bytes.
func readV2(r io.Reader, header []byte) ([]byte, error) {
	header = header[:v2Length]
	if _, err := io.ReadFull(r, header[minLength:]); err != nil {
		return nil, truncated(err)
	}
	n := int(binary.BigEndian.Uint16(header[v2Length-2:]))
	if n > maxV2Length {
		return nil, fmt.Errorf("%w: length %d, limit %d", ErrMalformed, n, maxV2Length)
	}
	header = append(header, make([]byte, n)...)
	if _, err := io.ReadFull(r, header[v2Length:]); err != nil {
		return nil, truncated(err)
	}
	return header, nil
}

// truncated returns err for a header that was read in part: io.EOF becomes
// io.ErrUnexpectedEOF.
func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// addresses returns the addresses from a complete header, which conn's peer sent.
func addresses(header []byte, conn net.Conn) (source, destination netip.AddrPort, err error) {
	local := isUnspec(header)
	if !local {
		h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
		if err != nil {
			return source, destination, malformed(err)
		}
		if local = h.Command.IsLocal(); !local {
			return addrPort(h.SourceAddr), addrPort(h.DestinationAddr), nil
		}
	}
	return addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr()), nil
}

// isUnspec reports whether header is of version 2, with the command PROXY and the
// family and protocol UNSPEC. The parser accepts these only with the command LOCAL,
// but the specification allows a receiver to use the connection's own addresses. Its
// bytes after the length are ignored.
//
// Specification: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2
func isUnspec(header []byte) bool {
	const command, family = v2Length - 4, v2Length - 3
	return len(header) >= v2Length && string(header[:command]) == string(proxyproto.SIGV2) &&
		header[command] == 0x21 && header[family] == 0
}

// addrPort returns the zero AddrPort if a is not an IP address.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// malformed returns an ErrMalformed with a fixed text of the parser's as its
// reason. The parser's other texts contain the client's address.
func malformed(err error) error {
	for _, reason := range []error{
		proxyproto.ErrLineMustEndWithCrlf,
		proxyproto.ErrCantReadAddressFamilyAndProtocol,
		proxyproto.ErrInvalidAddress,
		proxyproto.ErrInvalidPortNumber,
		proxyproto.ErrUnsupportedProtocolVersionAndCommand,
		proxyproto.ErrUnsupportedAddressFamilyAndProtocol,
		proxyproto.ErrInvalidLength,
	} {
		if errors.Is(err, reason) {
			return fmt.Errorf("%w: %w", ErrMalformed, reason)
		}
	}
	return ErrMalformed
}
