package mtwire_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// echo answers every payload with itself, its first word turned over.
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

// encrypted makes a payload of the length of an encrypted message, and of no
// other: 24 bytes and cipher blocks.
func encrypted(blocks int) []byte {
	b := make([]byte, 24+16*blocks)
	rand.Read(b)
	return b
}

// "One port takes" every transport: each mode of the client against one
// listener.
func TestOnePortTakesEveryTransport(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := mtwire.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{{}, secret}, AllowNoSecret: true, ObfuscatedFull: true, TLS: serverTLS,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	transports := make(chan mtwire.Transport, 1)
	go func() {
		served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			if err := conn.Handshake(ctx); err != nil {
				t.Error(err)
				return
			}
			select {
			case transports <- conn.Transport():
			default:
			}
			echo(ctx, conn)
		})
	}()

	for _, m := range append(mtwiretest.DirectModes(), mtwiretest.ProxiedModes()...) {
		t.Run(m.Transport, func(t *testing.T) {
			for len(transports) > 0 {
				<-transports
			}
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			conn, err := mtwire.Dial(ctx, m.Endpoint(ln.Addr()), &mtwire.DialConfig{TLS: clientTLS, ObfuscatedFull: true})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, blocks := range []int{3, 60, 4096, 70000} {
				payload := encrypted(blocks)
				if err := conn.Send(ctx, payload); err != nil {
					t.Fatal(err)
				}
				p, err := conn.Receive(ctx)
				if err != nil {
					t.Fatal(err)
				}
				payload[0] ^= 0xff
				if !bytes.Equal(p.Payload, payload) {
					t.Fatalf("%d blocks: %d bytes came back, of %d", blocks, len(p.Payload), len(payload))
				}
			}
			server := <-transports
			if server.String() != m.Transport || int(server.DC) != m.DC {
				t.Errorf("the server saw %v, DC %v, want %s, DC %v", server, server.DC, m.Transport, m.DC)
			}
			http, full := server.Carrier == mtwire.HTTP, server.Protocol == mtwire.Full
			if !http && !full {
				if err := conn.SendPacket(ctx, mtwire.Packet{Payload: encrypted(4), AckWanted: true}); err != nil {
					t.Fatal(err)
				}
				p, err := conn.Receive(ctx)
				if err != nil || p.Kind != mtwire.KindQuickAck || p.Token != 0x80000000+88 {
					t.Errorf("quick ack: %+v, %v", p, err)
				}
				if p, err = conn.Receive(ctx); err != nil || p.Kind != mtwire.KindPayload {
					t.Errorf("behind the quick ack: %+v, %v", p, err)
				}
			}
			unencrypted := make([]byte, 444)
			binary.LittleEndian.PutUint32(unencrypted[16:], 444-20)
			if err := conn.Send(ctx, unencrypted); err != nil {
				t.Fatal(err)
			}
			var e *mtwire.TransportError
			if _, err := conn.Receive(ctx); !errors.As(err, &e) || e.Code != 444 {
				t.Errorf("transport error: %v", err)
			}
		})
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// tcpPair returns both ends of a TCP connection, which end with the test.
func tcpPair(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	client, server, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}
