package httpconn

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/frame"
)

// recordedConn is a connection whose peer has sent all of its bytes.
type recordedConn struct{ io.Reader }

func (*recordedConn) Write(p []byte) (int, error)      { return len(p), nil }
func (*recordedConn) Close() error                     { return nil }
func (*recordedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*recordedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*recordedConn) SetDeadline(time.Time) error      { return nil }
func (*recordedConn) SetReadDeadline(time.Time) error  { return nil }
func (*recordedConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzServerRequest checks for all bytes from a client that every packet has a valid
// length, that all packets together are no longer than the input, and that the
// connection ends with a permanent error.
func FuzzServerRequest(f *testing.F) {
	f.Add(post("Hello MTProt") + post("and another "))
	f.Add(post("odd"))
	f.Add("OPTIONS /apiw1 HTTP/1.1\r\n\r\nPOST /apiw1 HTTP/1.0\r\nContent-Length: 8\r\n\r\neight by")
	f.Add("POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n8\r\neight by\r\n0\r\n\r\n")
	f.Add("POST /api HTTP/1.1\r\nContent-Length: 16777216\r\n\r\nfar less")
	f.Add("GET /api HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
	f.Fuzz(func(t *testing.T, data string) {
		s := NewServer(&recordedConn{strings.NewReader(data)}, &ServerConfig{MaxLength: 1 << 16})
		total := 0
		for {
			packet, err := s.Receive(t.Context())
			if err != nil {
				if _, again := s.Receive(t.Context()); again != err {
					t.Errorf("first %v, then %v", err, again)
				}
				break
			}
			if len(packet) < 8 || len(packet)%4 != 0 || len(packet) > 1<<16 {
				t.Fatalf("packet of %d bytes", len(packet))
			}
			if cap(packet) > 1<<16+1 {
				t.Fatalf("packet holds %d bytes", cap(packet))
			}
			total += len(packet)
			if err := s.Send(t.Context(), packet); err != nil {
				t.Fatal(err)
			}
		}
		if total > len(data) {
			t.Errorf("%d bytes out of %d", total, len(data))
		}
	})
}

// FuzzClientResponse checks that every response is a packet of a valid length, a
// transport error, a PostError, or empty.
func FuzzClientResponse(f *testing.F) {
	e := exchange{keepAlive: true, access: CrossOrigin}
	status, body := errorResponse(404)
	f.Add(e.appendResponse(nil, 200, "", []byte("an answer 12")))
	f.Add(e.appendResponse(nil, status, "", body[:]))
	f.Add(e.appendResponse(nil, 200, "", body[:]))
	f.Add(e.appendResponse(nil, 200, "", nil))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\neight by\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nfar less"))
	f.Fuzz(func(t *testing.T, data []byte) {
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
		if err != nil {
			return
		}
		packet, err := readResponse(resp, 1<<16, new(responseMemory))
		var te *frame.TransportError
		var pe *PostError
		switch {
		case err != nil:
			if packet != nil || !errors.As(err, &te) && !errors.As(err, &pe) {
				t.Errorf("%q, %v", packet, err)
			}
			if te != nil && te.Code == 0 {
				t.Error("transport error 0")
			}
		case packet != nil:
			if checkLength(len(packet), 1<<16) != nil || len(packet) > len(data) || cap(packet) > 1<<16+1 {
				t.Errorf("packet of %d bytes in %d", len(packet), cap(packet))
			}
		}
	})
}
