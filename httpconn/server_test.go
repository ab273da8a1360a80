package httpconn

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// tcpPair is two ends of a loopback connection.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	a, b, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// serverPair is a raw client and the Server at the other end.
func serverPair(t *testing.T, config *ServerConfig) (net.Conn, *Server) {
	a, b := tcpPair(t)
	s := NewServer(b, config)
	t.Cleanup(func() { s.Close() })
	return a, s
}

func post(packet string) string {
	return fmt.Sprintf("POST /api HTTP/1.1\r\nHost: \r\nContent-Length: %d\r\n\r\n%s", len(packet), packet)
}

// answerOf reads one answer of a raw connection.
func answerOf(t *testing.T, br *bufio.Reader) (status int, body string, h http.Header) {
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

// countingConn counts the writes below.
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

// "TDLib sends an empty Host: header when direct; do not answer 400." Nor is
// the body's place in the segments, the version, or the form of the length of
// any weight.
func TestServerTakesWhatClientsSend(t *testing.T) {
	for name, request := range map[string]string{
		"EmptyHost":   "POST /api HTTP/1.1\r\nHost: \r\nConnection: keep-alive\r\nContent-Length: 12\r\n\r\nHello MTProt",
		"NoHost":      "POST /api HTTP/1.1\r\nContent-Length: 12\r\n\r\nHello MTProt",
		"Form":        "POST /apiw1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\nHello MTProt",
		"OldVersion":  "POST /api HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 12\r\n\r\nHello MTProt",
		"Chunked":     "POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n7\r\n MTProt\r\n0\r\n\r\n",
		"ThroughHTTP": "POST http://149.154.167.51:80/api HTTP/1.1\r\nHost: 149.154.167.51:80\r\nContent-Length: 12\r\n\r\nHello MTProt",
	} {
		t.Run(name, func(t *testing.T) {
			a, s := serverPair(t, nil)
			br := bufio.NewReader(a)
			for range 2 {
				io.WriteString(a, request)
				got, err := s.Receive(t.Context())
				if err != nil || string(got) != "Hello MTProt" {
					t.Fatalf("received %q, %v", got, err)
				}
				if err := s.Send(t.Context(), []byte("an answer 12")); err != nil {
					t.Fatal(err)
				}
				status, body, h := answerOf(t, br)
				if status != 200 || body != "an answer 12" || h.Get("Connection") != "keep-alive" ||
					h.Get("Content-Type") != "application/octet-stream" || h.Get("Pragma") != "no-cache" {
					t.Errorf("answer %d %q %v", status, body, h)
				}
				if cors := h.Get("Access-Control-Allow-Origin") == "*"; cors != (name == "Form") {
					t.Errorf("CORS header: %v", cors)
				}
			}
			a.Close()
			for range 2 {
				if _, err := s.Receive(t.Context()); err != io.EOF {
					t.Errorf("at the end: %v, want EOF for ever", err)
				}
			}
			if err := s.Send(t.Context(), make([]byte, 8)); err != io.EOF {
				t.Errorf("send at the end: %v", err)
			}
		})
	}
}

// The same, one byte at a time.
func TestServerReadsByteByByte(t *testing.T) {
	a, b := net.Pipe()
	s := NewServer(b, nil)
	defer s.Close()
	go func() {
		for _, c := range []byte(post("Hello MTProt")) {
			a.Write([]byte{c})
		}
	}()
	if got, err := s.Receive(t.Context()); err != nil || string(got) != "Hello MTProt" {
		t.Errorf("received %q, %v", got, err)
	}
}

// The answer is one segment where it fits.
func TestAnswerIsOneWrite(t *testing.T) {
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

func TestServerRefusals(t *testing.T) {
	big := strings.Repeat("x", 5<<20)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"WrongPath":      {"POST /other HTTP/1.1\r\nContent-Length: 12\r\n\r\nHello MTProt", 404},
		"WrongMethod":    {"GET /api HTTP/1.1\r\n\r\n", 405},
		"Head":           {"HEAD /api HTTP/1.1\r\n\r\n", 405},
		"OptionsDirect":  {"OPTIONS /api HTTP/1.1\r\n\r\n", 405},
		"OptionsBody":    {"OPTIONS /apiw1 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", 400},
		"NoBody":         {"POST /api HTTP/1.1\r\n\r\n", 404},
		"ShortBody":      {post("four"), 404},
		"OddBody":        {post("Hello MTProto"), 404},
		"OddChunks":      {"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nninebytes\r\n0\r\n\r\n", 404},
		"TooLarge":       {post(big), 413},
		"TooLargeChunks": {"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n" + big, 413},
		"BadChunks":      {"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		"BadLength":      {"POST /api HTTP/1.1\r\nContent-Length: -4\r\n\r\n", 400},
		"LongHead":       {"POST /api HTTP/1.1\r\nCookie: " + strings.Repeat("x", 9000), 431},
		"Malformed":      {"POST\r\n\r\n", 400},
		"HTTP2":          {"POST /api HTTP/2.0\r\nContent-Length: 12\r\n\r\nHello MTProt", 505},
		"Expectation":    {"POST /api HTTP/1.1\r\nExpect: magic\r\nContent-Length: 12\r\n\r\n", 417},
	} {
		t.Run(name, func(t *testing.T) {
			a, s := serverPair(t, &ServerConfig{MaxLength: 1 << 20})
			go io.WriteString(a, c.request)
			answer := make(chan int, 1)
			go func() {
				resp, err := http.ReadResponse(bufio.NewReader(a), nil)
				if err != nil {
					answer <- 0
					return
				}
				// A client reads to the end and closes, unless it still sends.
				a.Close()
				if !resp.Close {
					t.Error("connection not announced as closed")
				}
				answer <- resp.StatusCode
			}()
			for range 2 {
				_, err := s.Receive(t.Context())
				var re *RequestError
				if !errors.As(err, &re) || re.Status != c.status {
					t.Fatalf("received %v, want status %d", err, c.status)
				}
			}
			if status := <-answer; status != c.status {
				t.Errorf("answered %d, want %d", status, c.status)
			}
		})
	}
}

// "w = CORS headers on; answer OPTIONS": origin *, POST and OPTIONS, headers
// origin and content-type, 1728000 seconds.
func TestPreflightIsAnswered(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, "OPTIONS /apiw_test1 HTTP/1.1\r\nHost: x\r\nOrigin: https://web.example\r\n"+
		"Access-Control-Request-Method: POST\r\n\r\n"+strings.Replace(post("Hello MTProt"), "/api", "/apiw_test1", 1))
	got, err := s.Receive(t.Context())
	if err != nil || string(got) != "Hello MTProt" {
		t.Fatalf("received %q, %v", got, err)
	}
	status, body, h := answerOf(t, bufio.NewReader(a))
	if status != 200 || body != "" {
		t.Errorf("answer %d %q", status, body)
	}
	for key, want := range map[string]string{
		"Access-Control-Allow-Origin":  "*",
		"Access-Control-Allow-Methods": "POST, OPTIONS",
		"Access-Control-Allow-Headers": "origin, content-type",
		"Access-Control-Max-Age":       "1728000",
	} {
		if h.Get(key) != want {
			t.Errorf("%s: %q, want %q", key, h.Get(key), want)
		}
	}
}

// A client that asks first is told to go on.
func TestExpectContinue(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, "POST /api HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n")
	go func() {
		line, _ := bufio.NewReader(a).ReadString('\n')
		if line == "HTTP/1.1 100 Continue\r\n" {
			io.WriteString(a, "eight by")
		} else {
			a.Close()
		}
	}()
	if got, err := s.Receive(t.Context()); err != nil || string(got) != "eight by" {
		t.Errorf("received %q, %v", got, err)
	}
}

// "One message per request, in order": the second of two requests sent at once
// is read when the first has its answer.
func TestPipelinedRequestsWaitTheirTurn(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, post("request number 1")+post("request number 2"))
	br := bufio.NewReader(a)
	if got, err := s.Receive(t.Context()); err != nil || string(got) != "request number 1" {
		t.Fatalf("received %q, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	if got, err := s.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("received %q, %v before the answer", got, err)
	}
	cancel()
	second := make(chan string, 1)
	go func() {
		got, err := s.Receive(t.Context())
		second <- fmt.Sprint(string(got), err)
	}()
	if err := s.Send(t.Context(), []byte("answer number 1.")); err != nil {
		t.Fatal(err)
	}
	if got := <-second; got != "request number 2<nil>" {
		t.Fatal(got)
	}
	if err := s.Send(t.Context(), []byte("answer number 2.")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"answer number 1.", "answer number 2."} {
		if _, body, _ := answerOf(t, br); body != want {
			t.Errorf("answer %q, want %q", body, want)
		}
	}
}

// Send waits for a request to answer, and no longer than its context.
func TestSendWaitsForARequest(t *testing.T) {
	a, s := serverPair(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, make([]byte, 8)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("send: %v", err)
	}
	sent := make(chan error, 1)
	go func() { sent <- s.Send(t.Context(), []byte("waits until then")) }()
	io.WriteString(a, post("Hello MTProt"))
	if _, err := s.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if _, body, _ := answerOf(t, bufio.NewReader(a)); body != "waits until then" {
		t.Errorf("answer %q", body)
	}
	if err := s.Send(t.Context(), make([]byte, 7)); !errors.Is(err, ErrLength) {
		t.Errorf("odd length: %v", err)
	}
}

// A client that closes its half after the request still gets its answer.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, post("Hello MTProt"))
	a.(*net.TCPConn).CloseWrite()
	if _, err := s.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), []byte("an answer 12")); err != nil {
		t.Fatal(err)
	}
	if _, body, _ := answerOf(t, bufio.NewReader(a)); body != "an answer 12" {
		t.Errorf("answer %q", body)
	}
	if _, err := s.Receive(t.Context()); err != io.EOF {
		t.Errorf("then %v, want EOF", err)
	}
}

// A client that asks for one answer and no more gets that, and the end.
func TestConnectionClose(t *testing.T) {
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
			t.Errorf("answer %q, %v", all, err)
		}
		if _, err := s.Receive(t.Context()); err != io.EOF {
			t.Errorf("then %v, want EOF", err)
		}
	}
}

// "Send both: status = code and the 4-byte body."
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
		// Statuses that would mean success, or no body, or are none at all.
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
		if status, body, _ := answerOf(t, br); status != c.status || body != c.body {
			t.Errorf("code %d: answer %d % x, want %d % x", c.code, status, body, c.status, c.body)
		}
	}
}

// "http_wait max_wait default 25000; empty when http_wait runs out."
func TestUnansweredRequestIsAnsweredEmptyAfterWaitLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := NewServer(b, nil)
		start := time.Now()
		go func() {
			defer a.Close()
			io.WriteString(a, post("http_wait..."))
			if status, body, _ := answerOf(t, bufio.NewReader(a)); status != 200 || body != "" {
				t.Errorf("answer %d %q", status, body)
			}
			if d := time.Since(start); d != defaultWaitLimit {
				t.Errorf("answered after %v", d)
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

// The application may know better when http_wait has run out.
func TestSendEmpty(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, post("http_wait..."))
	if _, err := s.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.SendEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := answerOf(t, bufio.NewReader(a)); status != 200 || body != "" {
		t.Errorf("answer %d %q", status, body)
	}
}

// Clients keep warm idle connections, so a first byte may take its time; from
// then on the request is bounded.
func TestRequestTimeoutBeginsWithTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := NewServer(b, nil)
		go func() {
			time.Sleep(time.Hour)
			io.WriteString(a, "POST /api HT")
			status, _, _ := answerOf(t, bufio.NewReader(a))
			if status != 408 {
				t.Errorf("answered %d", status)
			}
		}()
		start := time.Now()
		_, err := s.Receive(t.Context())
		var re *RequestError
		if !errors.As(err, &re) || re.Status != 408 {
			t.Errorf("received %v", err)
		}
		if d := time.Since(start); d != time.Hour+defaultRequestTimeout {
			t.Errorf("gave up after %v", d)
		}
		a.Close()
	})
}

// The end of a context unblocks at once. Between requests nothing is lost.
func TestCancelUnblocksReceiveAndSend(t *testing.T) {
	a, b := net.Pipe()
	s := NewServer(b, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := s.Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("idle: %v", err)
	}
	go io.WriteString(a, post("Hello MTProt"))
	if _, err := s.Receive(t.Context()); err != nil {
		t.Fatalf("second try: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		a.Read(make([]byte, 10)) // takes a part of the answer
		cancel()
	}()
	if err := s.Send(ctx, make([]byte, 800)); !errors.Is(err, context.Canceled) {
		t.Fatalf("inside the answer: %v", err)
	}
	if _, err := s.Receive(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("afterwards: %v, want the first error", err)
	}

	a, b = net.Pipe()
	s = NewServer(b, nil)
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		io.WriteString(a, "POST /api")
		cancel()
	}()
	if _, err := s.Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("inside the request: %v", err)
	}
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("connection left open: %v", err)
	}
}

// Close unblocks whoever waits.
func TestCloseUnblocks(t *testing.T) {
	_, b := net.Pipe()
	s := NewServer(b, nil)
	failed := make(chan error, 2)
	go func() {
		_, err := s.Receive(t.Context())
		failed <- err
	}()
	go func() { failed <- s.Send(t.Context(), make([]byte, 8)) }()
	s.Close()
	for range 2 {
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}

// A request cut off is an error, and not the end.
func TestEndInsideRequest(t *testing.T) {
	for _, part := range []string{"POST /api", "POST /api HTTP/1.1\r\nContent-Length: 12\r\n\r\nHello"} {
		a, s := serverPair(t, nil)
		io.WriteString(a, part)
		a.Close()
		if _, err := s.Receive(t.Context()); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", part, err)
		}
	}
}

// The standard library's client is a client like any other.
func TestStandardClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		s := NewServer(conn, nil)
		defer s.Close()
		for {
			packet, err := s.Receive(t.Context())
			if err == nil {
				err = s.Send(t.Context(), packet)
			}
			if err != nil {
				served <- err
				return
			}
		}
	}()
	client := &http.Client{Transport: &http.Transport{}}
	for _, n := range []int{8, 40, 5000, 3 << 20} {
		packet := bytes.Repeat([]byte("mtproto."), n/8)
		resp, err := client.Post("http://"+l.Addr().String()+"/api", "", bytes.NewReader(packet))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, packet) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
	client.CloseIdleConnections()
	if err := <-served; err != io.EOF && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// "An idle connection owns almost nothing": no reader, no body.
func TestIdleServerIsCheap(t *testing.T) {
	const count = 1000
	servers := make([]*Server, count)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range servers {
		servers[i] = NewServer(nil, nil)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int64(after.HeapAlloc-before.HeapAlloc) / count; each > 2048 {
		t.Errorf("%d bytes for an idle server", each)
	}
	runtime.KeepAlive(servers)
}

// Memory follows the bytes that came, not those announced.
func TestAnnouncedLengthTakesNoMemory(t *testing.T) {
	r := &sizesReader{Reader: strings.NewReader(strings.Repeat("x", 1000))}
	if _, err := readBody(r, 16<<20, 16<<20); err != nil || r.largest > bodyStep {
		t.Errorf("read into %d bytes, %v", r.largest, err)
	}
	for _, n := range []int{0, 1, 511, bodyStep - 1, bodyStep, bodyStep + 1, 1 << 20} {
		for _, announced := range []int64{-1, int64(n), int64(n) / 2, 0} {
			b, err := readBody(bytes.NewReader(make([]byte, n)), announced, 1<<20)
			if err != nil || len(b) != n || int64(cap(b)) > 1<<20+1 {
				t.Errorf("%d bytes, announced %d: got %d of %d, %v", n, announced, len(b), cap(b), err)
			}
		}
	}
	if _, err := readBody(bytes.NewReader(make([]byte, 1001)), -1, 1000); !errors.Is(err, ErrLength) {
		t.Errorf("over the limit: %v", err)
	}
}

type sizesReader struct {
	io.Reader
	largest int
}

func (r *sizesReader) Read(p []byte) (int, error) {
	r.largest = max(r.largest, len(p))
	return r.Reader.Read(p)
}
