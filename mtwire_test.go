package mtwire_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

// certificate makes a self-signed certificate for 127.0.0.1 and a client's
// configuration that trusts it.
func certificate(t testing.TB) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mtwire test"},
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool}
}

const (
	plainSecret = "000102030405060708090a0b0c0d0e0f"
	ddSecret    = "dd" + plainSecret
	eeSecret    = "ee" + plainSecret + "6578616d706c652e636f6d" // example.com
)

// mode is one way to connect; the matrix has every one the library has.
type mode struct {
	query string // behind the address, or of a link
	want  string // Transport.String of the server
	dc    mtwire.DC
}

func matrix() (modes []mode) {
	for _, p := range []string{"abridged", "intermediate", "padded-intermediate", "full"} {
		modes = append(modes, mode{"tcp://%s?protocol=" + p, "tcp, " + p, 0})
	}
	for _, p := range []string{"abridged", "intermediate", "padded-intermediate"} {
		modes = append(modes,
			mode{"tcp://%s?protocol=" + p + "&obfuscated=true&dc=-4", "tcp, obfuscated, " + p, -4},
			mode{"tcp://%s?dc=10002&protocol=" + p + "&secret=" + plainSecret, "tcp, obfuscated, " + p, 10002},
			mode{"ws://%s/apiws?dc=2&protocol=" + p, "websocket, obfuscated, " + p, 2},
			mode{"wss://%s/apiws_test?dc=2&protocol=" + p, "tls, websocket, obfuscated, " + p, 2},
		)
	}
	return append(modes,
		mode{"tcp://%s?protocol=full&obfuscated=true&dc=3", "tcp, obfuscated, full", 3},
		mode{"tcp://%s?secret=" + ddSecret, "tcp, obfuscated, padded-intermediate", 2},
		mode{"tcp://%s?dc=-10002&secret=" + eeSecret, "tcp, faketls, obfuscated, padded-intermediate", -10002},
		mode{"http://%s/api", "http", 0},
		mode{"https://%s/apiw1", "tls, http", 0},
	)
}

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
	serverTLS, clientTLS := certificate(t)
	secret, err := mtwire.ParseSecret(eeSecret)
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

	for _, m := range matrix() {
		t.Run(m.want, func(t *testing.T) {
			for len(transports) > 0 {
				<-transports
			}
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			url := fmt.Sprintf(m.query, ln.Addr())
			conn, err := mtwire.Dial(ctx, url, &mtwire.DialConfig{TLS: clientTLS, ObfuscatedFull: true})
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
			if server.String() != m.want || server.DC != m.dc {
				t.Errorf("the server saw %v, DC %v, want %s, DC %v", server, server.DC, m.want, m.dc)
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
