package mtwire

import (
	"context"
	"errors"

	"github.com/mtwire/mtwire/obfuscation"
)

// Stream is a connection without its packets: for a proxy, which passes bytes
// on and does not ask where a packet ends.
type Stream struct {
	// Conn decrypts what is read and encrypts what is written. Its NetConn is
	// the layer below: a socket, or FakeTLS's records.
	Conn *obfuscation.Conn

	// Read is what has been read from Conn already, decrypted.
	Read []byte

	// Download is the key stream of what is written to Conn. Bytes that come
	// encrypted with it already may be written to Conn.NetConn() instead.
	Download obfuscation.KeyStream
}

var errNotObfuscated = errors.New("detach: only an obfuscated connection has a stream to give away")

// Detach completes a server's handshake and takes the obfuscated stream out of
// c, which is of no use afterwards but for Close. It must come before the
// first Send and Receive.
func (c *Conn) Detach(ctx context.Context) (Stream, error) {
	if err := c.prepare(ctx); err != nil {
		return Stream{}, err
	}
	if c.download == nil {
		return Stream{}, errNotObfuscated
	}
	if err := c.stream.in.turn.take(ctx); err != nil {
		return Stream{}, err
	}
	defer c.stream.in.turn.give()
	if err := c.stream.out.turn.take(ctx); err != nil {
		return Stream{}, err
	}
	defer c.stream.out.turn.give()
	s := Stream{Conn: c.stream.obf, Read: c.stream.in.source.Take(), Download: *c.download}
	c.stream.forget()
	c.stream.in.err, c.stream.out.err = errDetached, errDetached
	return s, nil
}

var errDetached = errors.New("the connection's stream was detached")
