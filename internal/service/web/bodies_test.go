package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// plainServer serves a site without TLS to peers that tell the addresses of visitors.
func plainServer(t *testing.T, where string, log *slog.Logger) (*Server, string) {
	t.Helper()
	site, err := NewSite(where, log)
	if err != nil {
		t.Fatal(err)
	}
	var trusted proxyprotocol.Trust
	if err := trusted.AddNetwork(netip.MustParsePrefix("127.0.0.1/32")); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Host: "proxy.example.com", Site: site, ForwardedFrom: trusted, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.ServePlain(ln)
	t.Cleanup(s.Close)
	return s, ln.Addr().String()
}

// slowPost begins a request with a body that does not go on.
func slowPost(t *testing.T, address, from string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST /form HTTP/1.1\r\nHost: proxy.example.com\r\nX-Forwarded-For: %s\r\nContent-Length: 1000\r\n\r\nbeginning", from)
	return conn
}

// post sends a whole body, and returns the answer.
func post(t *testing.T, address, from string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/form", strings.NewReader(strings.Repeat("x", 100_000)))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "proxy.example.com"
	r.Header.Set("X-Forwarded-For", from)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ended reports whether a slow request was ended by the server, which answers an error or
// nothing.
func ended(conn net.Conn, within time.Duration) bool {
	conn.SetReadDeadline(time.Now().Add(within))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		answer.Body.Close()
	}
	timeout, ok := err.(net.Error)
	return err == nil || !ok || !timeout.Timeout()
}

// Requests of visitors that send their bodies slowly are limited in number: in total, and by
// network. At a limit the slowest of the network that has most makes room; others go on, and
// a visitor of another network is served meanwhile.
func TestSlowBodiesOfVisitorsMakeRoom(t *testing.T) {
	begun := make(chan string, 100)
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- r.Header.Get("X-Forwarded-For")
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n, err)
	}))
	defer behind.Close()
	var log bytes.Buffer
	s, address := plainServer(t, behind.URL, slog.New(slog.NewTextHandler(&log, nil)))
	s.bodies.SetLimits(shares(8)) // 4 of an address, 6 of a site
	var slow []net.Conn
	begin := func(from string) {
		t.Helper()
		slow = append(slow, slowPost(t, address, from))
		if got := <-begun; got != from {
			t.Fatalf("the site sees %s, want %s", got, from)
		}
	}
	innocent := slowPost(t, address, "198.51.100.1")
	<-begun
	for range 4 {
		begin("192.0.2.1")
	}
	begin("192.0.2.1") // for which one of its own ends
	if !ended(slow[0], 30*time.Second) {
		t.Error("the first request of an address that has too many goes on")
	}
	begin("192.0.2.2")
	begin("192.0.2.2")
	begin("192.0.2.2") // one too many of the site
	begin("203.0.113.1")
	for range 3 { // one of them is one too many of all
		if got := post(t, address, "203.0.113.7"); got != "100000 <nil>\n" {
			t.Errorf("the answer is %q", got)
		}
		<-begun
	}
	fmt.Fprint(innocent, strings.Repeat("x", 991))
	innocent.SetReadDeadline(time.Now().Add(30 * time.Second))
	answer, err := http.ReadResponse(bufio.NewReader(innocent), nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("the slow visitor that is alone in its network: %v", err)
	}
	answer.Body.Close()
	if n := s.bodies.Len(); n > 7 {
		t.Errorf("%d requests with bodies", n)
	}
	for _, conn := range slow {
		conn.Close()
	}
	for end := time.Now().Add(30 * time.Second); s.bodies.Len() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d requests are left", s.bodies.Len())
		}
	}
	s.Close()
	if strings.Contains(log.String(), "does not answer") {
		t.Error(log.String())
	}
}

// A body that a site of our own does not read has a time limit: then the visitor gets the
// answer, and the connection ends. One that a server behind reads has none.
func TestABodyThatIsNotReadHasALimit(t *testing.T) {
	s, address := plainServer(t, "", slog.New(slog.DiscardHandler))
	s.restTime = 100 * time.Millisecond
	reader := bufio.NewReader(slowPost(t, address, "192.0.2.1"))
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "405") {
		t.Errorf("%q, %v", line, err)
	}
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Error(err)
	}
	if n := s.bodies.Len(); n > 0 {
		t.Errorf("%d requests with bodies", n)
	}
}
