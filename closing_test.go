package mtwire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A connection that the system ended with ETIMEDOUT has failed: the error is no passing
// timeout of a deadline, and is kept.
func TestETIMEDOUTIsAFinalError(t *testing.T) {
	conn, err := mtwire.Client(short(t), &deadPeer{}, mtwire.Endpoint{Obfuscated: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := conn.Receive(short(t)); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("%v", err)
		}
	}
}

// deadPeer is a connection whose first Read fails with ETIMEDOUT, and later ones with
// io.EOF.
type deadPeer struct {
	writeCounter
	reads int
}

func (d *deadPeer) Read([]byte) (int, error) {
	if d.reads++; d.reads > 1 {
		return 0, io.EOF
	}
	return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ETIMEDOUT}
}

// Close ends blocked calls, at every stage of a server's handshake and after it.
func TestCloseEndsBlockedCalls(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	serverTLS, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	config := &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}, AllowNoSecret: true, TLS: serverTLS, HandshakeTimeout: time.Hour}
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: secret.Key, Domain: secret.Domain})
	if err != nil {
		t.Fatal(err)
	}
	other, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Domain: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string][]byte{
		"silent":                         nil,
		"part of an init payload":        make([]byte, 40),
		"part of a hello":                hello[:100],
		"inside FakeTLS":                 hello,
		"part of a record":               append(bytes.Clone(hello), 0x17, 3, 3, 0, 64, 1, 2),
		"TLS handshake":                  other,
		"WebSocket handshake":            []byte("GET /apiws HTTP/1.1\r\n"),
		"inside WebSocket":               []byte(browserUpgrade),
		"part of an HTTP request":        []byte("POST /api HTTP/1.1\r\nContent-Length: 40\r\n\r\n12"),
		"ready":                          unhex("eeeeeeee"),
		"ready, with a part of a packet": unhex("eeeeeeee" + "28000000" + "01"),
	} {
		t.Run(name, func(t *testing.T) {
			server, client := serve(t, config)
			client.Write(sent)
			received := make(chan error, 2)
			for range cap(received) {
				go func() {
					_, err := server.Receive(context.Background())
					received <- err
				}()
			}
			time.Sleep(20 * time.Millisecond) // until the bytes are processed, most likely
			server.Close()
			for range cap(received) {
				select {
				case err := <-received:
					if err == nil {
						t.Error("Receive returned a packet")
					}
				case <-time.After(30 * time.Second):
					t.Fatal("Receive still blocks")
				}
			}
		})
	}
}
