package fronting

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"testing"
)

// helloFor returns the ClientHello of a TLS client for a name, in one record. Its
// session ID is at 44..76.
func helloFor(t testing.TB, name string) []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		tls.Client(client, &tls.Config{ServerName: name}).Handshake()
	}()
	b := make([]byte, 1<<14)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// withoutSessionID removes the session ID, which OpenSSL does not send for TLS
// 1.2.
func withoutSessionID(hello []byte) []byte {
	hello = slices.Delete(slices.Clone(hello), 44, 76)
	hello[43] = 0
	n := len(hello) - 5
	hello[3], hello[4] = byte(n>>8), byte(n)
	hello[7], hello[8] = byte((n-4)>>8), byte(n-4)
	return hello
}

// A client gets the host that it names in any ClientHello, also in one that no
// Telegram client sends. Otherwise a scanner could tell an address with several
// domains from the sites.
func TestAnyClientHelloNamesItsHost(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("this is A"))}, {Domain: "b.example", Address: serve(t, echo("this is B"))}}})
	hello := helloFor(t, "b.example")
	bare := withoutSessionID(hello)
	inTwo := slices.Concat([]byte{22, 3, 1, 0, 50}, bare[5:55], []byte{22, 3, 1, byte((len(bare) - 55) >> 8), byte(len(bare) - 55)}, bare[55:])
	for name, first := range map[string][]byte{
		"TLS 1.3": hello, "no session ID": bare, "two records": inTwo, "incomplete": bare[:len(bare)-20],
	} {
		for _, preconnected := range []bool{false, true} {
			client, server := pair(t)
			tunnel := func() (Result, error) { return p.Tunnel(context.Background(), server, Client{}, first) }
			if preconnected {
				host := preconnect(t, p)
				tunnel = func() (Result, error) { return host.Tunnel(context.Background(), server, first) }
			}
			done := start(t, tunnel)
			client.CloseWrite()
			if got, err := io.ReadAll(client); err != nil || string(got) != "this is B"+string(first) {
				t.Errorf("%s: %.20q, %v", name, got, err)
			}
			if got := <-done; got.Domain != "b.example" {
				t.Errorf("%s: tunneled to %q", name, got.Domain)
			}
		}
	}
}

// Any bytes are parsed without a panic, and the name is a part of them.
func FuzzServerNameOfAnyBytes(f *testing.F) {
	f.Add(helloFor(f, "b.example"))
	f.Add(withoutSessionID(helloFor(f, "b.example")))
	f.Add([]byte("\x16\x03\x01\x00\x00\x16"))
	f.Fuzz(func(t *testing.T, first []byte) {
		if name := serverName(first); len(name) > len(first) {
			t.Errorf("%d bytes of name in %d", len(name), len(first))
		}
	})
}
