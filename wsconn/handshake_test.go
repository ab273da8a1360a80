//go:build !js

package wsconn

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const upgradeRequest = "GET /apiws HTTP/1.1\r\nHost: dc.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"

func TestServerRefusals(t *testing.T) {
	edit := func(old, new string) string { return strings.Replace(upgradeRequest, old, new, 1) }
	for name, c := range map[string]struct {
		request string
		status  int
		is      error
	}{
		"WrongPath":       {edit("/apiws", "/api"), 404, nil},
		"NotAnUpgrade":    {"GET /apiws HTTP/1.1\r\nHost: dc.example\r\n\r\n", 426, nil},
		"NoSubprotocol":   {edit("Sec-WebSocket-Protocol: binary\r\n", ""), 400, ErrSubprotocol},
		"OtherProtocol":   {edit("binary", "mqtt"), 400, ErrSubprotocol},
		"WrongVersion":    {edit("13", "8"), 400, nil},
		"WrongMethod":     {edit("GET", "POST"), 405, nil},
		"WrongOrigin":     {edit("Host:", "Origin: https://evil.example\r\nHost:"), 403, nil},
		"Malformed":       {"GET\r\n\r\n", 400, nil},
		"OversizedHeader": {edit("Host:", "Cookie: "+strings.Repeat("x", 9000)+"\r\nHost:"), 431, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			ch := serveAsync(t.Context(), b, &ServerConfig{
				CheckOrigin: func(origin string) bool { return origin == "" },
			})
			io.WriteString(a, c.request)
			s := <-ch
			var he *HandshakeError
			if !errors.As(s.err, &he) || he.Status != c.status {
				t.Fatalf("server: %v, want status %d", s.err, c.status)
			}
			if c.is != nil && !errors.Is(s.err, c.is) {
				t.Errorf("server: %v, want %v", s.err, c.is)
			}
			if name == "OversizedHeader" {
				return // the reset for unread bytes may arrive before the response
			}
			resp, err := http.ReadResponse(bufio.NewReader(a), nil)
			if err != nil || resp.StatusCode != c.status {
				t.Fatalf("response %v, %v, want status %d", resp, err, c.status)
			}
			io.Copy(io.Discard, resp.Body)
			if rest, err := io.ReadAll(a); err != nil || len(rest) > 0 {
				t.Errorf("after the response: %q, %v, want EOF", rest, err)
			}
		})
	}
}

// Specification: https://core.telegram.org/mtproto/transports#uri-format
func TestServerPaths(t *testing.T) {
	for path, want := range map[string]bool{
		"/apiws": true, "/apiws_test": true, "/apiws_premium": true, "/apiws_test_premium": true,
		"/apis": true, "/apis_test": true,
		"/": false, "/apiw": false, "/apiws/": false, "/apiwsx": false,
	} {
		if OfficialPath(path) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
	a, b := tcpPair(t)
	ch := serveAsync(t.Context(), b, &ServerConfig{CheckPath: func(string) bool { return true }})
	client, err := Dial(t.Context(), "ws://dc.example/anything?x=1", &DialConfig{DialContext: dialed(a)})
	if err != nil {
		t.Fatal(err)
	}
	s := <-ch
	if s.err != nil {
		t.Fatal(s.err)
	}
	go client.Close()
	s.conn.Close()
}

// The stream includes bytes that a client sent together with its request, also if
// the first bytes were read before.
func TestBytesAfterTheRequestAreKept(t *testing.T) {
	a, b := tcpPair(t)
	masked := "\x82\x85\x00\x00\x00\x00hello"
	io.WriteString(a, upgradeRequest+masked+masked[:3])
	detected := make([]byte, 4)
	if _, err := io.ReadFull(b, detected); err != nil {
		t.Fatal(err)
	}
	c, err := Server(t.Context(), &replay{b, io.MultiReader(strings.NewReader(string(detected)), b)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(a, masked[3:])
	got := make([]byte, 10)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hellohello" {
		t.Errorf("read %q, %v", got, err)
	}
	// The accept key is the example of RFC 6455, section 1.3.
	resp, err := http.ReadResponse(bufio.NewReader(a), nil)
	if err != nil || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
		resp.Header.Get("Sec-WebSocket-Protocol") != "binary" {
		t.Errorf("response %v, %v", resp, err)
	}
	a.Close()
	c.Close()
}

// The context also ends the handshake of a client that sends nothing.
func TestContextEndsASlowHandshake(t *testing.T) {
	for _, sent := range []string{"", "GET /apiws HTTP/1.1\r\nHost: "} {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			go io.WriteString(a, sent)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := Server(ctx, b, nil)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want the context's error", err)
			}
			if _, err := io.ReadAll(a); err != nil {
				t.Errorf("the connection is open: %v", err)
			}
		})
	}
}

// The error is no HandshakeError, because no response was sent.
func TestEndInsideARequestIsUnexpectedEOF(t *testing.T) {
	for _, sent := range []string{"GET /ap", "GET /apiws HTTP/1.1\r\nHost: dc.ex"} {
		a, b := tcpPair(t)
		io.WriteString(a, sent)
		a.Close()
		if _, err := Server(t.Context(), b, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", sent, err)
		}
	}
}

// respondingConn returns a connection to a server that reads one request and sends
// response.
func respondingConn(t *testing.T, response string) net.Conn {
	a, b := tcpPair(t)
	go func() {
		http.ReadRequest(bufio.NewReader(b))
		io.WriteString(b, response)
	}()
	return a
}

// A redirect means that the host does not serve the data centre.
func TestDialRefusals(t *testing.T) {
	t.Run("Redirect", func(t *testing.T) {
		conn := respondingConn(t, "HTTP/1.1 302 Found\r\nLocation: https://telegram.org/\r\nContent-Length: 0\r\n\r\n")
		_, err := Dial(t.Context(), "ws://dc.example/apiws", &DialConfig{DialContext: dialed(conn)})
		var he *HandshakeError
		if !errors.As(err, &he) || he.Status != 302 || !strings.Contains(err.Error(), "https://telegram.org/") {
			t.Errorf("%v", err)
		}
	})
	t.Run("OversizedResponse", func(t *testing.T) {
		conn := respondingConn(t, "HTTP/1.1 101 x\r\nX: "+strings.Repeat("x", 20000)+"\r\n\r\n")
		_, err := Dial(t.Context(), "ws://dc.example/apiws", &DialConfig{DialContext: dialed(conn)})
		if !errors.Is(err, errHeadTooLong) {
			t.Errorf("%v", err)
		}
	})
	t.Run("SubprotocolNotEchoed", func(t *testing.T) {
		a, b := tcpPair(t)
		go func() {
			r, err := http.ReadRequest(bufio.NewReader(b))
			if err != nil {
				return
			}
			r.Header.Set("Sec-WebSocket-Protocol", "binary")
			w := &responseWriter{conn: &dropHeader{b, "Sec-Websocket-Protocol: binary\r\n"}, header: http.Header{},
				br: bufio.NewReader(b)}
			Accept(w, r, nil)
		}()
		_, err := Dial(t.Context(), "ws://dc.example/apiws", &DialConfig{DialContext: dialed(a)})
		if !errors.Is(err, ErrSubprotocol) {
			t.Errorf("%v", err)
		}
	})
	t.Run("Scheme", func(t *testing.T) {
		for _, u := range []string{"http://dc.example/apiws", "dc.example", "ws://", "ws://%"} {
			if _, err := Dial(t.Context(), u, nil); err == nil {
				t.Errorf("%q accepted", u)
			}
		}
	})
}

// dropHeader removes a header line from each write.
type dropHeader struct {
	net.Conn
	line string
}

func (c *dropHeader) Write(p []byte) (int, error) {
	_, err := c.Conn.Write([]byte(strings.Replace(string(p), c.line, "", 1)))
	return len(p), err
}

// Dial waits for the response to the upgrade, or for a TLS handshake.
func TestCancelEndsDial(t *testing.T) {
	for _, url := range []string{"ws://dc.example/apiws", "wss://dc.example/apiws"} {
		a, b := tcpPair(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			b.Read(make([]byte, 1)) // the client has begun, and gets no response
			cancel()
		}()
		_, err := Dial(ctx, url, &DialConfig{DialContext: dialed(a)})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// Responses before the upgrade are skipped, and not read without end.
func TestDialSkipsInterimResponses(t *testing.T) {
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	for _, count := range []int{1, 3, 100_000} {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			request, err := http.ReadRequest(bufio.NewReader(theirs))
			if err != nil {
				return
			}
			for range count {
				if _, err := io.WriteString(theirs, hints); err != nil {
					return
				}
			}
			sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			io.WriteString(theirs, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: binary\r\n"+
				"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
			io.Copy(io.Discard, theirs)
		}()
		conn, err := Dial(t.Context(), "ws://dc.example/apiws", &DialConfig{
			CloseTimeout: time.Millisecond,
			DialContext:  func(context.Context, string, string) (net.Conn, error) { return ours, nil },
		})
		if (err == nil) != (count < 10) {
			t.Errorf("%d responses: %v", count, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// A response that is no upgrade, behind which the connection stays open, is told at once.
func TestDialDoesNotWaitBehindABadUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go func() {
			http.ReadRequest(bufio.NewReader(theirs))
			io.WriteString(theirs, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: other\r\n\r\n")
		}()
		begun := time.Now()
		_, err := Dial(t.Context(), "ws://dc.example/apiws", &DialConfig{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil },
		})
		if took := time.Since(begun); err == nil || took > 0 {
			t.Errorf("%v after %v", err, took)
		}
	})
}
