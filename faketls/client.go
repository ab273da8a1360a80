package faketls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ClientConfig says how a client introduces itself. A nil *ClientConfig has
// no Domain and only serves to get an error.
type ClientConfig struct {
	// Key is the 16 bytes of the secret behind its ee.
	Key [16]byte

	// Domain is the rest of the secret: the host that the ClientHello asks
	// for, sent as it is. It must not be empty and not longer than 253 bytes.
	Domain string

	// Time is the clock that the server is to see. Servers refuse hellos that
	// are off by as little as three seconds, and a clock set after the
	// server's is worth having. Default: time.Now.
	Time func() time.Time

	// Rand is where the random parts of the hello come from, as far as uTLS
	// asks it. Default: crypto/rand.
	Rand io.Reader

	// Hello returns a ClientHello to send in place of the built-in one, which
	// has the shape of a recent Chrome: one whole record with its header. The
	// random in it is overwritten, in place. Default: nil.
	Hello func(domain string) ([]byte, error)
}

// AppendClientHello appends a signed ClientHello in one record. Its bytes
// 11..43 are what [VerifyServerHello] wants to see again.
func AppendClientHello(dst []byte, cfg *ClientConfig) ([]byte, error) {
	if cfg == nil {
		cfg = &ClientConfig{}
	}
	switch {
	case cfg.Domain == "":
		return dst, errNoDomain
	case len(cfg.Domain) > maxDomain:
		return dst, fmt.Errorf("faketls: ClientConfig.Domain has %d bytes, limit %d", len(cfg.Domain), maxDomain)
	}
	var record []byte
	var err error
	if cfg.Hello != nil {
		record, err = cfg.Hello(cfg.Domain)
	} else {
		record, err = chromeHello(cfg.Domain, cfg.Rand)
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
	signClientHello(record, cfg.Key, now(cfg.Time))
	return append(dst, record...), nil
}

func now(clock func() time.Time) time.Time {
	if clock == nil {
		return time.Now()
	}
	return clock()
}

// Client returns the client's end of a connection over conn. The handshake
// happens in Conn.Handshake, or in the first Read or Write. cfg must not
// change before that is over.
func Client(conn net.Conn, cfg *ClientConfig) *Conn {
	c := newConn(conn, RoleClient)
	c.shake = func(ctx context.Context) error { return clientHandshake(ctx, conn, cfg) }
	return c
}

func clientHandshake(ctx context.Context, conn net.Conn, cfg *ClientConfig) error {
	hello, err := AppendClientHello(nil, cfg)
	if err != nil {
		return err
	}
	return interruptible(ctx, conn, func() error {
		if _, err := conn.Write(hello); err != nil {
			return fmt.Errorf("faketls: send ClientHello: %w", err)
		}
		random := [32]byte(hello[randomStart:])
		_, err := readHello(conn, func(b []byte) (int, error) {
			return VerifyServerHello(b, cfg.Key, random)
		})
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("faketls: receive ServerHello: %w", err)
		}
		return nil
	})
}
