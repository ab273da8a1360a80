package proxydial

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// scriptedConn is a connection to a proxy whose responses are fixed.
type scriptedConn struct {
	net.Conn
	*bytes.Reader
}

func (s *scriptedConn) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s *scriptedConn) Write(p []byte) (int, error) { return len(p), nil }
func (s *scriptedConn) Close() error                { return nil }
func (*scriptedConn) SetDeadline(time.Time) error   { return nil }

// Responses before the final one are skipped, but not without end.
func TestInterimResponsesAreSkipped(t *testing.T) {
	const (
		hints     = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
		connected = "HTTP/1.1 200 Connection established\r\n\r\n"
	)
	connect := func(responses string) error {
		s := &scriptedConn{Reader: bytes.NewReader([]byte(responses))}
		return connectHTTP(t.Context(), s, Proxy{Server: "proxy:1"}, "149.154.167.51:443")
	}
	for _, before := range []string{"HTTP/1.1 100 Continue\r\n\r\n", hints, hints + "HTTP/1.1 102 Processing\r\n\r\n"} {
		if err := connect(before + connected); err != nil {
			t.Errorf("%q before the final response: %v", before, err)
		}
		if err := connect(before + "HTTP/1.1 407 No\r\n\r\n"); !errors.Is(err, StatusError(407)) {
			t.Errorf("%q before a refusal: %v", before, err)
		}
	}
	if err := connect("HTTP/1.1 101 Switching Protocols\r\n\r\n" + connected); !errors.Is(err, StatusError(101)) {
		t.Errorf("another protocol: %v", err)
	}
	if err := connect(strings.Repeat(hints, 10_000) + connected); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("responses without end: %v", err)
	}
}

// No response of a proxy causes a panic, reads beyond the longest response, or
// succeeds without the beginning of one.
func FuzzProxyResponses(f *testing.F) {
	for _, response := range []string{
		"HTTP/1.1 200 Connection established\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 407 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 " + strings.Repeat("x", maxResponseHeader),
		strings.Repeat("garbage", 1000) + "\r\n\r\n",
	} {
		f.Add(false, []byte(response))
	}
	for _, response := range []string{
		"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01",
		"\x05\x02\x01\x00\x05\x00\x00\x03\x02xy\x00\x01",
		"\x05\x02\x01\x01",
		"\x05\xff",
		"\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
	} {
		f.Add(true, []byte(response))
	}
	f.Fuzz(func(t *testing.T, socks bool, response []byte) {
		s := &scriptedConn{Reader: bytes.NewReader(response)}
		p := Proxy{Server: "proxy:1", User: "me", Password: "pw"}
		connect, begin, limit := connectHTTP, "HTTP/", maxResponseHeader
		if socks {
			connect, begin, limit = connectSOCKS5, "\x05", 2+2+4+1+255+2
		}
		err := connect(t.Context(), s, p, "149.154.167.51:443")
		if read := len(response) - s.Len(); read > limit {
			t.Errorf("%d bytes were read", read)
		}
		if err == nil && !bytes.HasPrefix(response, []byte(begin)) {
			t.Errorf("%q succeeds", response)
		}
		if err != nil && len(err.Error()) > 300 { // a log has a line for each attempt
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
