package mtwire_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func secretOf(t testing.TB, text string) mtwire.Secret {
	t.Helper()
	s, err := mtwire.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// short returns a context that ends a test that hangs.
func short(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// serve returns a server's end of a TCP connection and the client's socket, which the
// end of the test closes.
func serve(t *testing.T, config *mtwire.ListenConfig) (*mtwire.Conn, *net.TCPConn) {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client.(*net.TCPConn)
}

// tcpPair returns both ends of a TCP connection, which the end of the test closes.
func tcpPair(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	client, server, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

// startEcho serves echo until the end of the test, and returns the address.
func startEcho(t *testing.T, config *mtwire.ListenConfig) net.Addr {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, echo) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr()
}

// echo answers every payload with itself, its first byte inverted, and a payload of 444
// bytes with a transport error. A quick acknowledgement has the payload's length.
func echo(ctx context.Context, conn *mtwire.Conn) {
	for {
		p, err := conn.Receive(ctx)
		if err != nil {
			return
		}
		if p.AckWanted {
			if err := conn.SendPacket(ctx, mtwire.Packet{Kind: mtwire.KindQuickAck, Token: 0x80000000 | uint32(len(p.Payload))}); err != nil {
				return
			}
		}
		if len(p.Payload) == 444 {
			if err := conn.SendError(ctx, 444); err != nil {
				return
			}
			continue
		}
		answer := bytes.Clone(p.Payload)
		answer[0] ^= 0xff
		if err := conn.Send(ctx, answer); err != nil {
			return
		}
	}
}

// encrypted returns a payload with the length of an encrypted message of so many
// blocks, which no unencrypted message has.
func encrypted(blocks int) []byte {
	b := make([]byte, 24+16*blocks)
	rand.Read(b)
	return b
}

// writeCounter is a connection that counts its Writes and drops their bytes.
type writeCounter struct {
	net.Conn
	writes int
}

func (w *writeCounter) Write(p []byte) (int, error)      { w.writes++; return len(p), nil }
func (w *writeCounter) SetReadDeadline(time.Time) error  { return nil }
func (w *writeCounter) SetWriteDeadline(time.Time) error { return nil }

// capture is a connection that keeps what is written to it.
type capture struct {
	writeCounter
	b []byte
}

func (c *capture) Write(p []byte) (int, error) { c.b = append(c.b, p...); return len(p), nil }
