package httpconn

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A short response is then one TCP segment.
func TestResponseIsOneWrite(t *testing.T) {
	a, b := tcpPair(t)
	below := &countingConn{Conn: b}
	s := NewServer(below, nil)
	io.WriteString(a, post("Hello MTProt"))
	if _, err := s.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	packet := bytes.Repeat([]byte{7}, 84)
	if err := s.Send(t.Context(), packet); err != nil {
		t.Fatal(err)
	}
	if len(below.writes) != 1 || !strings.HasSuffix(below.writes[0], string(packet)) {
		t.Errorf("writes below: %q", below.writes)
	}
}

// The server closes the connection after the response.
func TestConnectionClosesAfterTheResponseIfTheClientRequestsIt(t *testing.T) {
	for _, head := range []string{"HTTP/1.1\r\nConnection: close", "HTTP/1.0"} {
		a, s := serverPair(t, nil)
		io.WriteString(a, "POST /api "+head+"\r\nContent-Length: 8\r\n\r\neight by")
		if _, err := s.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(a)
		if err != nil || !strings.Contains(string(all), "Connection: close\r\n") {
			t.Errorf("response %q, %v", all, err)
		}
		if _, err := s.Receive(t.Context()); err != io.EOF {
			t.Errorf("then %v, want EOF", err)
		}
	}
}

// Some clients read the status only, and some the body only.
func TestTransportErrorIsStatusAndBody(t *testing.T) {
	a, s := serverPair(t, nil)
	br := bufio.NewReader(a)
	for _, c := range []struct {
		code   uint32
		status int
		body   string
	}{
		{403, 403, "\x6d\xfe\xff\xff"},
		{404, 404, "\x6c\xfe\xff\xff"},
		{429, 429, "\x53\xfe\xff\xff"},
		{444, 444, "\x44\xfe\xff\xff"},
		{599, 599, "\xa9\xfd\xff\xff"},
		// Statuses of success, without a body, and beyond the range.
		{100, 500, "\x9c\xff\xff\xff"},
		{200, 500, "\x38\xff\xff\xff"},
		{304, 500, "\xd0\xfe\xff\xff"},
		{70000, 500, "\x90\xee\xfe\xff"},
		{1 << 31, 500, "\x00\x00\x00\x80"},
	} {
		io.WriteString(a, post("Hello MTProt"))
		if _, err := s.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.SendError(t.Context(), c.code); err != nil {
			t.Fatal(err)
		}
		if status, body, _ := responseOf(t, br); status != c.status || body != c.body {
			t.Errorf("code %d: response %d % x, want %d % x", c.code, status, body, c.status, c.body)
		}
	}
}

// The default is the default max_wait of http_wait.
func TestOpenRequestHasAnEmptyResponseAfterWaitLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := NewServer(b, nil)
		start := time.Now()
		go func() {
			defer a.Close()
			io.WriteString(a, post("http_wait..."))
			if status, body, _ := responseOf(t, bufio.NewReader(a)); status != 200 || body != "" {
				t.Errorf("response %d %q", status, body)
			}
			if d := time.Since(start); d != defaultWaitLimit {
				t.Errorf("response after %v", d)
			}
			io.WriteString(a, post("next request"))
		}()
		for _, want := range []string{"http_wait...", "next request"} {
			if got, err := s.Receive(t.Context()); err != nil || string(got) != want {
				t.Fatalf("received %q, %v", got, err)
			}
		}
		s.Close()
	})
}

// The application can have a shorter http_wait.
func TestSendEmptySendsAnEmptyResponse(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, post("http_wait..."))
	if _, err := s.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.SendEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := responseOf(t, bufio.NewReader(a)); status != 200 || body != "" {
		t.Errorf("response %d %q", status, body)
	}
}
