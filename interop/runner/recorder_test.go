package main

import (
	"io"
	"net"
	"testing"
)

// The recorder forwards all bytes in both directions, with their half-closes, and
// returns the length of a TLS ClientHello's record.
func TestRecorderReturnsTheLengthOfTheHello(t *testing.T) {
	for _, c := range []struct {
		first string
		want  int
	}{
		{"\x16\x03\x01\x06\xd4 and so on", 5 + 0x6d4},
		{"\x16\x04\x01\x06\xd4 and so on", 0}, // an init payload that begins with 16
		{"\x16\x03", 0},
		{"\xef", 0},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		recorder, err := startRecorder(ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", recorder.ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		// A network may deliver single bytes.
		for _, b := range []byte(c.first) {
			client.Write([]byte{b})
		}
		client.(*net.TCPConn).CloseWrite()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(server); string(got) != c.first || err != nil {
			t.Errorf("the server got %q, %v", got, err)
		}
		io.WriteString(server, "answer")
		server.Close()
		if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
		client.Close()
		recorder.stop()
		ln.Close()
		if got := recorder.helloLength(); got != c.want {
			t.Errorf("%q: a hello of %d bytes, want %d", c.first, got, c.want)
		}
	}
}
