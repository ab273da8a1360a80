package httpconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// acceptServer is an http.Server whose requests go to handle, by Accept.
func acceptServer(t *testing.T, config *ServerConfig, handle func(*Request, error)) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := Accept(w, r, config)
		handle(req, err)
		if err == nil {
			req.Close()
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// A transport error is the status and the body, and a client of this package reads it.
func TestRequestCarriesTransportErrors(t *testing.T) {
	srv := acceptServer(t, nil, func(req *Request, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		if err := req.SendError(t.Context(), 404); err != nil {
			t.Error(err)
		}
		if err := req.SendEmpty(context.Background()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second response: %v", err)
		}
	})
	resp, err := http.Post(srv.URL+"/api", "", strings.NewReader("12345678"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 404 || string(body) != "\x6c\xfe\xff\xff" {
		t.Errorf("status %d, body % x", resp.StatusCode, body)
	}
}

// A body that never arrives ends with 408 after RequestTimeout, and the server's other
// clients are served.
func TestSlowBodyIsRefused(t *testing.T) {
	refused := make(chan error, 1)
	srv := acceptServer(t, &ServerConfig{RequestTimeout: 50 * time.Millisecond}, func(_ *Request, err error) { refused <- err })
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n1234")
	var e *RequestError
	if err := <-refused; !errors.As(err, &e) || e.Status != http.StatusRequestTimeout {
		t.Errorf("Accept: %v", err)
	}
	b, _ := io.ReadAll(conn)
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 408 ")) {
		t.Errorf("response %q", b)
	}
}

// The end of a context ends Send to a client that does not read, and Receive after the
// packet; so does a client that leaves.
func TestContextsEndRequests(t *testing.T) {
	ended := make(chan error, 2)
	srv := acceptServer(t, &ServerConfig{MaxLength: 64 << 20}, func(req *Request, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		packet, _ := req.Receive(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		switch packet[0] {
		case 'r':
			_, err = req.Receive(ctx)
		case 's':
			err = req.Send(ctx, make([]byte, 32<<20))
		case 'l':
			_, err = req.Receive(context.Background())
		}
		ended <- err
	})
	for first, want := range map[string]error{"r": context.DeadlineExceeded, "s": context.DeadlineExceeded, "l": context.Canceled} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, post(first+"2345678"))
		if first == "l" {
			conn.Close()
		}
		if err := <-ended; !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", first, err, want)
		}
		conn.Close()
	}
}

// A browser asks before it posts to a path for pages of other origins.
func TestPreflightIsAnswered(t *testing.T) {
	accepted := make(chan error, 1)
	srv := acceptServer(t, nil, func(_ *Request, err error) { accepted <- err })
	req, _ := http.NewRequest(http.MethodOptions, srv.URL+"/apiw1", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := <-accepted; err != ErrPreflight || resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Methods") != "POST, OPTIONS" {
		t.Errorf("Accept: %v; %s, %v", err, resp.Status, resp.Header)
	}
}
