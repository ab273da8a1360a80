package httpconn

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

// tcpPair returns the two ends of a loopback connection.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	a, b, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// serverPair returns a client connection and the Server at its other end.
func serverPair(t *testing.T, config *ServerConfig) (net.Conn, *Server) {
	a, b := tcpPair(t)
	s := NewServer(b, config)
	t.Cleanup(func() { s.Close() })
	return a, s
}

// post returns a POST with packet as its body.
func post(packet string) string {
	return fmt.Sprintf("POST /api HTTP/1.1\r\nHost: \r\nContent-Length: %d\r\n\r\n%s", len(packet), packet)
}

// responseOf reads one response to a POST.
func responseOf(t *testing.T, br *bufio.Reader) (status int, body string, h http.Header) {
	t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// countingConn records writes.
type countingConn struct {
	net.Conn
	mu     sync.Mutex
	writes []string
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes = append(c.writes, string(p))
	c.mu.Unlock()
	return c.Conn.Write(p)
}
