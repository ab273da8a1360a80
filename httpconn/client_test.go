package httpconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
)

func newClient(t *testing.T, url string, config *ClientConfig) *Client {
	t.Helper()
	c, err := NewClient(url, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func handlerServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func echo(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }

// The server is the standard library's.
//
// Specification: https://core.telegram.org/mtproto/transports#http
func TestClientSendsEachPacketAsAPOST(t *testing.T) {
	srv := handlerServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.URL.Path != "/api" || r.ContentLength != 40 || r.Close ||
			r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" ||
			r.Header.Get("Origin") != "https://web.example" || r.Header["User-Agent"] != nil || r.Header["Accept-Encoding"] != nil {
			t.Errorf("%s %s, %d bytes, %v", r.Method, r.URL, r.ContentLength, r.Header)
		}
		echo(w, r)
	})
	c := newClient(t, srv.URL, &ClientConfig{Header: http.Header{"Origin": {"https://web.example"}}})
	for i := range 3 {
		packet := bytes.Repeat([]byte{byte(i)}, 40)
		want := bytes.Clone(packet)
		if err := c.Send(t.Context(), packet); err != nil {
			t.Fatal(err)
		}
		clear(packet) // Send has copied it
		if got, err := c.Receive(t.Context()); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("received % x, %v", got, err)
		}
	}
}

// The packets are short and long, and the connection is TLS.
func TestClientWorksWithServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	borrowed := httptest.NewUnstartedServer(nil)
	borrowed.StartTLS() // for its certificate
	defer borrowed.Close()
	pool := x509.NewCertPool()
	pool.AddCert(borrowed.Certificate())
	l = tls.NewListener(l, &tls.Config{Certificates: borrowed.TLS.Certificates})
	t.Cleanup(loopback.Serve(l, func(conn net.Conn) {
		s := NewServer(conn, nil)
		defer s.Close()
		for {
			packet, err := s.Receive(t.Context())
			if err != nil {
				return
			}
			if len(packet) == 8 {
				err = s.SendError(t.Context(), 429)
			} else {
				err = s.Send(t.Context(), packet)
			}
			if err != nil {
				return
			}
		}
	}))
	c := newClient(t, "https://"+l.Addr().String(), &ClientConfig{TLSClientConfig: &tls.Config{RootCAs: pool}})
	for _, n := range []int{12, 2 << 20, 5000} {
		packet := bytes.Repeat([]byte{1, 2, 3, 4}, n/4)
		if err := c.Send(t.Context(), packet); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Receive(t.Context()); err != nil || !bytes.Equal(got, packet) {
			t.Fatalf("%d bytes: received %d, %v", n, len(got), err)
		}
		if err := c.Send(t.Context(), make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		var te *frame.TransportError
		if _, err := c.Receive(t.Context()); !errors.As(err, &te) || te.Code != 429 {
			t.Fatalf("received %v, want 429", err)
		}
	}
}

// Servers send an error as the status, as the body of a 200, or as both. An empty
// 200 and four zero bytes are no packet. The client remains usable after each of
// them.
func TestClientParsesEveryKindOfResponse(t *testing.T) {
	body := func(v int32) string { return string(binary.LittleEndian.AppendUint32(nil, uint32(v))) }
	type answer struct {
		status int
		body   string
	}
	answers := make(chan answer, 1)
	srv := handlerServer(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		a := <-answers
		w.Header().Set("Location", "/elsewhere") // the client must not follow it
		w.WriteHeader(a.status)
		io.WriteString(w, a.body)
	})
	c := newClient(t, srv.URL, &ClientConfig{MaxLength: 1000})
	for _, x := range []struct {
		answer
		code uint32 // of a transport error, or
		bad  bool   // a PostError, or
		none bool   // nothing, and the next answer comes
	}{
		{answer{403, ""}, 403, false, false},
		{answer{404, body(-404)}, 404, false, false},
		{answer{429, "<html>slow down</html>"}, 429, false, false},
		{answer{444, ""}, 444, false, false},
		{answer{302, ""}, 302, false, false},
		{answer{500, strings.Repeat("x", 100000)}, 500, false, false},
		{answer{200, body(-404)}, 404, false, false},
		{answer{200, body(-1 << 31)}, 1 << 31, false, false},
		{answer{200, ""}, 0, false, true},
		{answer{200, body(0)}, 0, false, true},
		{answer{200, body(1)}, 0, true, false},
		{answer{200, "nine byte"}, 0, true, false},
		{answer{200, "six by"}, 0, true, false},
		{answer{200, strings.Repeat("x", 1004)}, 0, true, false},
		{answer{200, "a packet"}, 0, false, false},
	} {
		if err := c.Send(t.Context(), make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		answers <- x.answer
		if x.none {
			continue
		}
		got, err := c.Receive(t.Context())
		var te *frame.TransportError
		var pe *PostError
		switch {
		case x.code != 0:
			if !errors.As(err, &te) || te.Code != x.code {
				t.Errorf("%v: %v, want code %d", x.answer, err, x.code)
			}
		case x.bad:
			if !errors.As(err, &pe) || !errors.Is(err, ErrLength) {
				t.Errorf("%v: %v, want ErrLength", x.answer, err)
			}
		case err != nil || string(got) != x.body:
			t.Errorf("%v: %q, %v", x.answer, got, err)
		}
	}
}

// MaxInFlight packets are in flight at the same time, one of them a long poll.
func TestLongPollDoesNotBlockOthers(t *testing.T) {
	release := make(chan struct{})
	srv := handlerServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) == "http_wait..." {
			<-release
		}
		w.Write(b)
	})
	c := newClient(t, srv.URL, nil)
	if err := c.Send(t.Context(), []byte("http_wait...")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for range 7 {
			if err := c.Send(t.Context(), []byte("question")); err != nil {
				t.Fatal(err)
			}
		}
		// All eight are in flight: the next Send blocks.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Send(ctx, []byte("question")); !errors.Is(err, context.Canceled) {
			t.Fatalf("ninth: %v", err)
		}
		for range 7 {
			if got, err := c.Receive(t.Context()); err != nil || string(got) != "question" {
				t.Fatalf("received %q, %v", got, err)
			}
		}
	}
	close(release)
	if got, err := c.Receive(t.Context()); err != nil || string(got) != "http_wait..." {
		t.Errorf("received %q, %v", got, err)
	}
}

func TestExchangeReturnsTheAnswerToItsOwnPacket(t *testing.T) {
	release := make(chan struct{})
	srv := handlerServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch body[0] {
		case 'e': // http_wait has expired
		case 'x':
			binary.Write(w, binary.LittleEndian, int32(-404))
		case 'w':
			<-release
			w.Write(body)
		default:
			w.Write(body)
		}
	})
	defer close(release)
	c := newClient(t, srv.URL, nil)

	if err := c.Send(t.Context(), []byte("a sent packet...")); err != nil {
		t.Fatal(err)
	}
	for packet, want := range map[string]string{"packet to echo..": "packet to echo..", "empty.. answered": ""} {
		if got, err := c.Exchange(t.Context(), []byte(packet)); string(got) != want || err != nil {
			t.Errorf("the answer to %q is %q, %v", packet, got, err)
		}
	}
	if got, err := c.Receive(t.Context()); string(got) != "a sent packet..." {
		t.Errorf("received %q, %v: not the answer to what was sent", got, err)
	}
	var code *frame.TransportError
	if _, err := c.Exchange(t.Context(), []byte("x-ray...")); !errors.As(err, &code) || code.Code != 404 {
		t.Errorf("got %v in place of a transport error", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := c.Exchange(ctx, []byte("wait....")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v after the end of the context", err)
	}
	time.AfterFunc(10*time.Millisecond, func() { c.Close() })
	if _, err := c.Exchange(t.Context(), []byte("wait....")); !errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v after Close", err)
	}
	if _, err := c.Exchange(t.Context(), []byte("wait")); !errors.Is(err, ErrLength) {
		t.Errorf("got %v for four bytes", err)
	}
}

// The next packet has a new connection.
func TestFailureOfOnePOSTDoesNotEndTheClient(t *testing.T) {
	srv := handlerServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) == "kill me." {
			panic(http.ErrAbortHandler)
		}
		w.Write(b)
	})
	c := newClient(t, srv.URL, nil)
	for _, packet := range []string{"first...", "kill me.", "third..."} {
		if err := c.Send(t.Context(), []byte(packet)); err != nil {
			t.Fatal(err)
		}
		got, err := c.Receive(t.Context())
		var pe *PostError
		if packet == "kill me." {
			if !errors.As(err, &pe) {
				t.Errorf("received %q, %v", got, err)
			}
		} else if err != nil || string(got) != packet {
			t.Errorf("received %q, %v", got, err)
		}
	}
}

func TestMissingResponseIsAnErrorAfterResponseTimeout(t *testing.T) {
	release := make(chan struct{})
	srv := handlerServer(t, func(w http.ResponseWriter, r *http.Request) { <-release })
	c := newClient(t, srv.URL, &ClientConfig{ResponseTimeout: 1})
	if err := c.Send(t.Context(), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	var pe *PostError
	if _, err := c.Receive(t.Context()); !errors.As(err, &pe) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	close(release)
}

// The server receives the end of the request in flight.
func TestClientCloseUnblocksSendAndReceive(t *testing.T) {
	arrived := make(chan struct{})
	srv := handlerServer(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
	})
	c := newClient(t, srv.URL, &ClientConfig{MaxInFlight: 1})
	if err := c.Send(t.Context(), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	<-arrived
	failed := make(chan error, 2)
	go func() {
		_, err := c.Receive(t.Context())
		failed <- err
	}()
	go func() { failed <- c.Send(t.Context(), make([]byte, 8)) }()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if err := c.Send(t.Context(), make([]byte, 8)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestClientRefusesInvalidURLsAndLengths(t *testing.T) {
	for _, u := range []string{"ws://host/api", "host/api", "http://", "http://%"} {
		if _, err := NewClient(u, nil); err == nil {
			t.Errorf("%q accepted", u)
		}
	}
	c := newClient(t, "http://host", &ClientConfig{MaxLength: 100})
	for _, n := range []int{0, 4, 9, 104} {
		if err := c.Send(t.Context(), make([]byte, n)); !errors.Is(err, ErrLength) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
