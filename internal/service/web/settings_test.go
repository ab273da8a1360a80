package web

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

// settingsOf returns the SETTINGS of HTTP/2 with which a server begins.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9113#section-6.5
func settingsOf(t *testing.T, conn net.Conn) map[uint16]uint32 {
	t.Helper()
	over := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	defer over.Close()
	io.WriteString(over, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	header := make([]byte, 9)
	if _, err := io.ReadFull(over, header); err != nil || header[3] != 4 {
		t.Fatalf("% x: %v", header, err)
	}
	payload := make([]byte, int(header[1])<<8|int(header[2]))
	if _, err := io.ReadFull(over, payload); err != nil {
		t.Fatal(err)
	}
	all := make(map[uint16]uint32)
	for ; len(payload) > 0; payload = payload[6:] {
		all[binary.BigEndian.Uint16(payload)] = binary.BigEndian.Uint32(payload[2:])
	}
	return all
}

// The SETTINGS are those of any server in Go, but for two whose values operators do choose: the
// longest frame, which is the protocol's default, and the longest header. A table of no use for
// headers that are repeated would tell the site from all others.
func TestTheSettingsOfHTTP2AreThoseOfOtherServers(t *testing.T) {
	const frameSize, headerSize = 5, 6
	certificate, _, err := loopback.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{
		Host: "proxy.example.com", Site: newSite(t, ""), Log: slog.New(slog.DiscardHandler),
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate.Certificates[0], nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Close()
	ours, theirs, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(theirs)
	got := settingsOf(t, ours)
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	other.EnableHTTP2 = true
	other.StartTLS()
	defer other.Close()
	conn, err := net.Dial("tcp", other.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	want := settingsOf(t, conn)
	if got[frameSize] != 16<<10 || got[headerSize] < maxHeader {
		t.Errorf("frames of %d bytes, headers of %d", got[frameSize], got[headerSize])
	}
	want[frameSize], want[headerSize] = got[frameSize], got[headerSize]
	if !maps.Equal(got, want) {
		t.Errorf("%v, others %v", got, want)
	}
}
