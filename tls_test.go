package mtwire_test

import (
	"crypto/tls"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A client with TLS 1.2, whose hello has no session ID and so is malformed for FakeTLS, is
// served by a server with a certificate, with secrets and without.
func TestTLS12IsServedBesideSecrets(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	clientTLS.MaxVersion = tls.VersionTLS12
	for _, config := range []*mtwire.ListenConfig{
		{TLS: serverTLS},
		{TLS: serverTLS, Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true},
	} {
		conn, err := mtwire.Dial(short(t), "wss://"+startEcho(t, config).String(), &mtwire.DialConfig{TLS: clientTLS})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Send(short(t), encrypted(3)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(short(t)); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
}

// HTTP/2, which is not implemented, is not negotiated, even if the TLS configuration is
// one for net/http, as autocert's is: neither by a server nor by a client.
func TestHTTP2IsNotNegotiated(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	both := []string{"h2", "http/1.1"}
	serverTLS.NextProtos, clientTLS.NextProtos = both, both
	forClient := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return serverTLS, nil }}
	for name, config := range map[string]*tls.Config{"config": serverTLS, "GetConfigForClient": forClient} {
		raw, err := tls.Dial("tcp", startEcho(t, &mtwire.ListenConfig{TLS: config}).String(), clientTLS)
		if err != nil {
			t.Fatal(err)
		}
		if got := raw.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
			t.Errorf("%s: a browser and the server negotiate %q", name, got)
		}
		raw.Close()
	}

	// Another server negotiates HTTP/2 with a client that offers it.
	negotiated := make(chan string, 2)
	other, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for range cap(negotiated) {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			negotiated <- conn.(*tls.Conn).ConnectionState().NegotiatedProtocol
			conn.Close()
		}
	}()
	for _, scheme := range []string{"wss", "https"} {
		conn, err := mtwire.Dial(short(t), scheme+"://"+other.Addr().String(), &mtwire.DialConfig{TLS: clientTLS})
		if err == nil {
			conn.Send(short(t), encrypted(3))
			defer conn.Close()
		}
		if got := <-negotiated; got == "h2" {
			t.Errorf("%s: a client negotiates %q", scheme, got)
		}
	}
	if len(both) != 2 || both[0] != "h2" {
		t.Errorf("the caller's list was changed: %q", both)
	}
}
