// Package proxyprotocol reads the header with which a load balancer or a web
// server in front says who the client is, and takes nothing of what the client
// sent behind it. So the bare socket can go on to the handshake, and to the
// kernel's copying from socket to socket, which a buffer in between would end.
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
	// minLen is the length of the shortest header: PROXY UNKNOWN and a line
	// end. It is the most that can be read before it is known what comes.
	minLen = 15
	// maxV1Len is the longest line that the specification allows.
	maxV1Len = 107
	// v2Len is a version 2 header without what its length field counts.
	v2Len = 16
	// maxV2Len is the most that the length field may say. Addresses take 216
	// at most; the rest are a balancer's remarks, a client certificate being
	// the longest.
	maxV2Len = 4096
)

var (
	// ErrNoHeader is returned when what came is not a PROXY protocol header.
	ErrNoHeader = errors.New("no PROXY protocol header")
	// ErrMalformed is returned for a header that breaks off the rules.
	ErrMalformed = errors.New("malformed PROXY protocol header")
)

// Read reads a PROXY protocol header, version 1 or 2, from the beginning of
// conn, and returns the client's address. That is conn's own remote address if
// the header says LOCAL or UNKNOWN: the one in front speaks for itself, as it
// does to see whether the server is up. The address is the zero AddrPort if it
// is no IP address, but a Unix socket's. An IPv4 address comes as one, however
// it was written.
//
// Not one byte behind the header is read. Read sets no deadline: the caller
// does, and gets the connection's error when it passes. A connection that ends
// before its first byte gives io.EOF, and one that ends within the header
// io.ErrUnexpectedEOF. After an error the connection is of no use.
//
// Errors quote nothing of what was sent.
func Read(conn net.Conn) (netip.AddrPort, error) {
	header, err := readHeader(conn)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return source(header, conn.RemoteAddr())
}

// readHeader reads the bytes of one header and not one more, in as few calls
// as that takes.
func readHeader(r io.Reader) ([]byte, error) {
	header := make([]byte, minLen, maxV1Len)
	n, err := io.ReadFull(r, header)
	v1, v2 := begins(header[:n], "PROXY "), begins(header[:n], string(proxyproto.SIGV2))
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

// begins says whether b is the beginning of signature, or has it.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

// readV1 reads up to the end of the line. Its length is known by its end only,
// so bytes are read one at a time.
func readV1(r io.Reader, header []byte) ([]byte, error) {
	if bytes.IndexByte(header[:minLen-1], '\n') >= 0 {
		return nil, fmt.Errorf("%w: version 1 line too short", ErrMalformed)
	}
	for header[len(header)-1] != '\n' {
		if len(header) == maxV1Len {
			return nil, fmt.Errorf("%w: version 1 line longer than %d bytes", ErrMalformed, maxV1Len)
		}
		header = header[:len(header)+1]
		if _, err := io.ReadFull(r, header[len(header)-1:]); err != nil {
			return nil, within(err)
		}
	}
	return header, nil
}

// readV2 reads the last byte of the length, and as many bytes as it says.
func readV2(r io.Reader, header []byte) ([]byte, error) {
	header = header[:v2Len]
	if _, err := io.ReadFull(r, header[minLen:]); err != nil {
		return nil, within(err)
	}
	n := int(binary.BigEndian.Uint16(header[v2Len-2:]))
	if n > maxV2Len {
		return nil, fmt.Errorf("%w: length %d, limit %d", ErrMalformed, n, maxV2Len)
	}
	header = append(header, make([]byte, n)...)
	if _, err := io.ReadFull(r, header[v2Len:]); err != nil {
		return nil, within(err)
	}
	return header, nil
}

// within is err for a header of which something has been read.
func within(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// source reads the client's address out of a whole header. The peer is who
// sent the header.
func source(header []byte, peer net.Addr) (netip.AddrPort, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return netip.AddrPort{}, malformed(err)
	}
	if h.Command.IsLocal() {
		return addrPort(peer), nil
	}
	return addrPort(h.SourceAddr), nil
}

// addrPort is the zero AddrPort for what is not an IP address.
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

// malformed tells what is wrong by the parser's fixed texts only: the rest of
// its errors quotes the client's address.
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
