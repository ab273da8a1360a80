package faketls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
)

// ClientConfig is the content of a client's hello. Nil is an error, since Domain is
// required.
type ClientConfig struct {
	// Key is the secret's key: its 16 bytes after ee.
	Key [16]byte

	// Domain is the rest of the secret: the host in the server_name extension, sent
	// as it is. It has 1 to 253 bytes.
	Domain string

	// Time is the clock whose time the hello has. Servers reject hellos whose time
	// is off, some by as little as three seconds. Nil means time.Now.
	Time func() time.Time

	// Rand is the source of the hello's random parts, as far as uTLS reads from it.
	// Nil means crypto/rand.
	Rand io.Reader

	// Hello returns a ClientHello to send in place of the built-in one, in one
	// record with its header. Its random is overwritten in place. Nil means the
	// built-in one, which has the fingerprint of a recent Chrome.
	Hello func(domain string) ([]byte, error)
}

// AppendClientHello appends a signed ClientHello in one record. Its bytes 11..43 are
// the clientRandom of [VerifyServerHello]. On error, about config or of its Hello and Rand, it
// returns dst.
func AppendClientHello(dst []byte, config *ClientConfig) ([]byte, error) {
	if config == nil {
		config = &ClientConfig{}
	}
	switch {
	case config.Domain == "":
		return dst, errNoDomain
	case len(config.Domain) > maxDomain:
		return dst, fmt.Errorf("faketls: ClientConfig.Domain has %d bytes, limit %d", len(config.Domain), maxDomain)
	}
	var record []byte
	var err error
	if config.Hello != nil {
		record, err = config.Hello(config.Domain)
	} else {
		record, err = chromeHello(config.Domain, config.Rand)
	}
	if err != nil {
		return dst, err
	}
	hello, n, err := ParseClientHello(record)
	if err != nil {
		return dst, fmt.Errorf("faketls: ClientConfig.Hello: %w", err)
	}
	if n != len(record) || n != len(hello.record) {
		return dst, fmt.Errorf("faketls: ClientConfig.Hello returned %d bytes, want one record and nothing else", len(record))
	}
	signClientHello(record, config.Key, now(config.Time))
	return append(dst, record...), nil
}

func now(clock func() time.Time) time.Time {
	if clock == nil {
		return time.Now()
	}
	return clock()
}

// Client returns the client's end of a connection over conn. Conn.Handshake, or
// the first Read or Write, performs the handshake. config must not change before
// it is done.
func Client(conn net.Conn, config *ClientConfig) *Conn {
	c := NewConn(conn, frame.Client)
	c.shake = func(ctx context.Context) error { return clientHandshake(ctx, conn, config) }
	c.handshakeDone.Store(false)
	return c
}

func clientHandshake(ctx context.Context, conn net.Conn, config *ClientConfig) error {
	hello, err := AppendClientHello(nil, config)
	if err != nil {
		return err
	}
	if ctx.Done() != nil {
		conn = netx.WithDeadlines(conn)
	}
	exchange := func() error {
		if _, err := conn.Write(hello); err != nil {
			return fmt.Errorf("faketls: send ClientHello: %w", err)
		}
		if err := readServerHello(conn, config.Key, [32]byte(hello[randomStart:])); err != nil {
			return fmt.Errorf("faketls: receive ServerHello: %w", err)
		}
		return nil
	}
	if ctx.Done() == nil {
		return exchange() // the caller's deadlines stay
	}
	return netx.Interruptible(ctx, conn.SetDeadline, exchange)
}

// flightBuffer is the initial size of the buffer for a flight that has begun. It
// holds small flights whole.
const flightBuffer = 2048

// readServerHello reads a server's flight from r and verifies it. It reads not
// one byte beyond the flight: those belong to the stream. The buffer grows with
// what has arrived and not with what is announced, and has a few bytes before
// the first byte arrives.
//
// An end of input before the flight's end is io.ErrUnexpectedEOF.
func readServerHello(r io.Reader, key [16]byte, clientRandom [32]byte) error {
	var b []byte
	for {
		want, err := VerifyServerHello(b, key, clientRandom)
		if err != ErrIncomplete {
			return err
		}
		if len(b) == cap(b) {
			b = slices.Grow(b, min(want, max(flightBuffer, 2*len(b)))-len(b))
		}
		n, err := r.Read(b[len(b):min(want, cap(b))])
		b = b[:len(b)+n]
		if n == 0 && errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if n == 0 && err != nil {
			return err
		}
	}
}
