package mtwire

import (
	"context"
	"errors"
	"net"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/obfuscation"
)

// Stream is a connection without its packets, and taken apart: for a proxy,
// which passes bytes on and does not ask where a packet ends.
//
// What comes next from Socket goes through Records, if that is not nil, and
// then through Receive. What goes to the client is encrypted with Download, and
// cut into records if there are any.
type Stream struct {
	// Socket carries the stream: the connection that the Conn was made of,
	// unless TLS or WebSocket is in between.
	Socket net.Conn

	// Read is what has been read from Socket already, decrypted.
	Read []byte

	// Records takes off the records of FakeTLS. Nil means that there are none.
	Records *faketls.Deframer

	// Receive decrypts what comes.
	Receive obfuscation.Cursor

	// Download is the key stream of what is sent. None of it has been used.
	Download obfuscation.KeyStream
}

var errNotObfuscated = errors.New("detach: only an obfuscated connection has a stream to give away")

// Detach completes a server's handshake and takes the obfuscated stream out of
// c, which is of no use afterwards but for Close. It must come before the
// first Send and Receive. If ctx ends before the client's first byte came,
// Detach can be called again.
func (c *Conn) Detach(ctx context.Context) (Stream, error) {
	if err := c.prepare(ctx); err != nil {
		return Stream{}, err
	}
	if c.hello == nil {
		return Stream{}, errNotObfuscated
	}
	if err := c.stream.in.mu.Lock(ctx); err != nil {
		return Stream{}, err
	}
	defer c.stream.in.mu.Unlock()
	if err := c.stream.out.mu.Lock(ctx); err != nil {
		return Stream{}, err
	}
	defer c.stream.out.mu.Unlock()
	c.stream.forget()
	c.stream.in.err, c.stream.out.err = errDetached, errDetached
	s := Stream{
		Socket:   c.stream.obf.NetConn(),
		Read:     c.stream.in.source.Take(),
		Download: c.hello.Download,
	}
	s.Receive = c.hello.Upload.Cursor(obfuscation.InitLength + uint64(len(s.Read)))
	if records, ok := s.Socket.(*faketls.Conn); ok {
		deframer := records.Deframer()
		s.Records, s.Socket = &deframer, records.NetConn()
	}
	err := s.unwrap()
	return s, err
}

// unwrap goes on from a socket of which a part was read in the handshake.
func (s *Stream) unwrap() error {
	wrapped, ok := s.Socket.(*replayConn)
	if !ok {
		return nil
	}
	rest := wrapped.rest
	s.Socket = wrapped.Conn
	if s.Records != nil {
		n, err := s.Records.Deframe(rest)
		if err != nil {
			return err
		}
		rest = rest[:n]
	}
	s.Receive.XORKeyStream(rest, rest)
	s.Read = append(s.Read, rest...)
	return nil
}

var errDetached = errors.New("the connection's stream was detached")
