package route

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"
)

// script is a proxy that says what it was told to, whatever it hears.
type script struct {
	net.Conn
	*bytes.Reader
}

func (s *script) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s *script) Write(p []byte) (int, error) { return len(p), nil }
func (s *script) Close() error                { return nil }
func (*script) SetDeadline(time.Time) error   { return nil }

// What proxies answer: nothing panics, no more is read than an answer can be
// long, and only what begins like a consent is one.
func FuzzProxyAnswers(f *testing.F) {
	for _, answer := range []string{
		"HTTP/1.1 200 Connection established\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 407 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 " + strings.Repeat("x", maxAnswerHead),
	} {
		f.Add(false, []byte(answer))
	}
	for _, answer := range []string{
		"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01",
		"\x05\x02\x01\x00\x05\x00\x00\x03\x02xy\x00\x01",
		"\x05\x02\x01\x01",
		"\x05\xff",
		"\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
	} {
		f.Add(true, []byte(answer))
	}
	f.Fuzz(func(t *testing.T, socks bool, answer []byte) {
		s := &script{Reader: bytes.NewReader(answer)}
		u := Upstream{server: "proxy:1", user: "me", password: "pw"}
		connect, begin, limit := connectHTTP, "HTTP/", maxAnswerHead
		if socks {
			connect, begin, limit = connectSOCKS5, "\x05", 2+2+4+1+255+2
		}
		err := connect(t.Context(), s, u, "149.154.167.51:443")
		if read := len(answer) - s.Len(); read > limit {
			t.Errorf("%d bytes were read", read)
		}
		if err == nil && !bytes.HasPrefix(answer, []byte(begin)) {
			t.Errorf("%q is a consent", answer)
		}
	})
}
