package mtwire_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// One listener accepts every transport: each mode of the client exchanges packets with it,
// quick acknowledgements and a transport error.
func TestOnePortAcceptsEveryTransport(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := mtwire.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{{Key: [16]byte{1}}, secret}, AllowNoSecret: true, ObfuscatedFull: true, TLS: serverTLS,
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
			ctx := short(t)
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
				t.Errorf("the server found %v, DC %v, want %s, DC %v", server, server.DC, m.Transport, m.DC)
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

// An init payload that begins like a TLS record, as one in 2^24 valid ones does, is
// accepted.
func TestInitPayloadThatLooksLikeTLSIsAccepted(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	for _, first := range []string{"1603010600", "1603010004", "16030106ff", "1603014000"} {
		for _, secrets := range [][]mtwire.Secret{nil, {secret}} {
			server, client := serve(t, &mtwire.ListenConfig{Secrets: secrets})
			init, streams := initWith(t, unhex(first), secrets)
			e := frame.Encoder{Protocol: frame.PaddedIntermediate}
			packet, err := e.Append(nil, frame.Packet{Payload: encrypted(4)})
			if err != nil {
				t.Fatal(err)
			}
			streams.Send.XORKeyStream(packet, packet)
			if _, err := client.Write(append(init, packet...)); err != nil {
				t.Fatal(err)
			}
			if _, err := server.Receive(short(t)); err != nil {
				t.Errorf("%s: %v", first, err)
			}
		}
	}
}

// initWith returns an init payload with the given first bytes, which NewInit never draws.
func initWith(t *testing.T, first []byte, secrets []mtwire.Secret) ([]byte, obfuscation.Streams) {
	config := &obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, DC: 2}
	if secrets != nil {
		config.Key = &secrets[0].Key
	}
	init, announced, err := obfuscation.NewInit(config)
	if err != nil {
		t.Fatal(err)
	}
	streams := announced.Streams(frame.Client)
	copy(init[:], first) // bytes 0..8 are not part of a key
	return init[:], streams
}
