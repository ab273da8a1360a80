package loopback

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
)

// DNSServer is a DNS server on UDP, in which every host name has the address
// 127.0.0.1 and no other.
type DNSServer struct {
	conn    net.PacketConn
	queries atomic.Int64
	failing atomic.Bool
	serving sync.WaitGroup
}

// ListenDNS starts a DNS server. Close stops it.
func ListenDNS() (*DNSServer, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &DNSServer{conn: conn}
	s.serving.Go(s.serve)
	return s, nil
}

// Resolver returns a resolver that asks s only.
func (s *DNSServer) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

// Queries returns how many queries s has received.
func (s *DNSServer) Queries() int64 { return s.queries.Load() }

// Fail makes s answer every query with the error SERVFAIL from now on.
func (s *DNSServer) Fail() { s.failing.Store(true) }

// Close stops s.
func (s *DNSServer) Close() {
	s.conn.Close()
	s.serving.Wait()
}

func (s *DNSServer) serve() {
	b := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(b)
		if err != nil {
			return
		}
		if answer := s.answer(b[:n]); answer != nil {
			s.queries.Add(1)
			s.conn.WriteTo(answer, from)
		}
	}
}

// answer returns the answer to a query with one question, nil to anything else.
//
// Specification: https://www.rfc-editor.org/rfc/rfc1035#section-4.1
func (s *DNSServer) answer(query []byte) []byte {
	const (
		headerLength = 12
		response     = 0x8180 // and recursion desired and available
		servfail     = 2
		typeA        = 1
	)
	if len(query) < headerLength || binary.BigEndian.Uint16(query[4:]) != 1 {
		return nil
	}
	name := bytes.IndexByte(query[headerLength:], 0)
	end := headerLength + name + 1 + 4 // behind the name, the type and the class
	if name < 0 || len(query) < end {
		return nil
	}
	flags, answers := uint16(response), uint16(0)
	switch {
	case s.failing.Load():
		flags |= servfail
	case binary.BigEndian.Uint16(query[end-4:]) == typeA:
		answers = 1
	}
	m := bytes.Clone(query[:2])
	for _, field := range [...]uint16{flags, 1, answers, 0, 0} {
		m = binary.BigEndian.AppendUint16(m, field)
	}
	m = append(m, query[headerLength:end]...)
	if answers > 0 {
		m = append(m,
			0xc0, headerLength, 0, typeA, 0, 1, // the question's name, type and class
			0, 0, 0, 1, 0, 4, 127, 0, 0, 1) // time to live, length, address
	}
	return m
}
