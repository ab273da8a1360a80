package web

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What is left of a body that was not read to its end is no request: the connection ends.
func TestTheRestOfABodyIsNoRequest(t *testing.T) {
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down.Close() // the site's server is not there
	_, address := plainServer(t, "http://"+down.Addr().String(), slog.New(slog.DiscardHandler))
	conn := exchange(t, address, "POST /form HTTP/1.1\r\nHost: proxy.example.com\r\nContent-Length: 1000000\r\n\r\n"+
		"GET / HTTP/1.1\r\nHost: proxy.example.com\r\nConnection: close\r\n\r\n")
	answers, _ := io.ReadAll(conn)
	if n := strings.Count(string(answers), "HTTP/1.1 502"); n != 1 {
		t.Errorf("%d answers to one request: %q", n, answers)
	}
}

// A visitor that waits for 100 Continue gets the answer of a site that reads no bodies.
func TestABodyThatIsNotWantedIsNotAwaited(t *testing.T) {
	s, address := plainServer(t, "", slog.New(slog.DiscardHandler))
	s.restTime = time.Minute
	conn := exchange(t, address, "POST / HTTP/1.1\r\nHost: proxy.example.com\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed || !answer.Close {
		t.Errorf("status %d, close: %v", answer.StatusCode, answer.Close)
	}
}

// The end of a body that makes room is no fault of the site's server, over HTTP/2 either.
func TestABodyThatMakesRoomIsNoFaultOfTheSite(t *testing.T) {
	begun := make(chan struct{})
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		io.Copy(io.Discard, r.Body)
	}))
	defer behind.Close()
	var log bytes.Buffer
	s, address := plainServer(t, behind.URL, slog.New(slog.NewTextHandler(&log, nil)))
	body, writer := io.Pipe()
	defer writer.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "proxy.example.com"
	client := &http.Transport{Protocols: new(http.Protocols)}
	client.Protocols.SetUnencryptedHTTP2(true)
	defer client.CloseIdleConnections()
	go func() {
		<-begun
		s.bodies.EvictOldest(1)
	}()
	if answer, err := client.RoundTrip(r); err != nil || answer.StatusCode != http.StatusBadGateway {
		t.Errorf("%v, %v", answer, err)
	}
	s.Close()
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

// exchange sends text, and gives the answers half a minute.
func exchange(t *testing.T, address, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprint(conn, text)
	return conn
}
