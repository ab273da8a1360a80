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
	"testing/synctest"
	"time"
)

// TDLib sends an empty Host. HTTP proxies send an absolute URL.
func TestServerReadsTheRequestsOfClients(t *testing.T) {
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
				status, body, h := responseOf(t, br)
				if status != 200 || body != "an answer 12" || h.Get("Connection") != "keep-alive" ||
					h.Get("Content-Type") != "application/octet-stream" || h.Get("Pragma") != "no-cache" {
					t.Errorf("response %d %q %v", status, body, h)
				}
				if cors := h.Get("Access-Control-Allow-Origin") == "*"; cors != (name == "Form") {
					t.Errorf("CORS header: %v", cors)
				}
			}
			a.Close()
			for range 2 {
				if _, err := s.Receive(t.Context()); err != io.EOF {
					t.Errorf("at the end: %v, want EOF again", err)
				}
			}
			if err := s.Send(t.Context(), make([]byte, 8)); err != io.EOF {
				t.Errorf("send at the end: %v", err)
			}
		})
	}
}

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
			response := make(chan int, 1)
			go func() {
				resp, err := http.ReadResponse(bufio.NewReader(a), nil)
				if err != nil {
					response <- 0
					return
				}
				// A client closes after the response, unless it is still sending.
				a.Close()
				if !resp.Close {
					t.Error("no Connection: close")
				}
				response <- resp.StatusCode
			}()
			for range 2 {
				_, err := s.Receive(t.Context())
				var re *RequestError
				if !errors.As(err, &re) || re.Status != c.status {
					t.Fatalf("received %v, want status %d", err, c.status)
				}
			}
			if status := <-response; status != c.status {
				t.Errorf("response %d, want %d", status, c.status)
			}
		})
	}
}

// A path with w has CORS headers.
//
// Specification: https://core.telegram.org/mtproto/transports#uri-format
func TestPreflightHasAResponse(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, "OPTIONS /apiw_test1 HTTP/1.1\r\nHost: x\r\nOrigin: https://web.example\r\n"+
		"Access-Control-Request-Method: POST\r\n\r\n"+strings.Replace(post("Hello MTProt"), "/api", "/apiw_test1", 1))
	got, err := s.Receive(t.Context())
	if err != nil || string(got) != "Hello MTProt" {
		t.Fatalf("received %q, %v", got, err)
	}
	status, body, h := responseOf(t, bufio.NewReader(a))
	if status != 200 || body != "" {
		t.Errorf("response %d %q", status, body)
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

func TestExpectationIsConfirmedBeforeTheBody(t *testing.T) {
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

// Clients keep idle connections open for later requests.
func TestRequestTimeoutBeginsWithTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := NewServer(b, nil)
		go func() {
			time.Sleep(time.Hour)
			io.WriteString(a, "POST /api HT")
			status, _, _ := responseOf(t, bufio.NewReader(a))
			if status != 408 {
				t.Errorf("response %d", status)
			}
		}()
		start := time.Now()
		_, err := s.Receive(t.Context())
		var re *RequestError
		if !errors.As(err, &re) || re.Status != 408 {
			t.Errorf("received %v", err)
		}
		if d := time.Since(start); d != time.Hour+defaultRequestTimeout {
			t.Errorf("timeout after %v", d)
		}
		a.Close()
	})
}

// io.EOF would mean that the connection ended between requests.
func TestEndInsideARequestIsUnexpectedEOF(t *testing.T) {
	for _, part := range []string{"POST /api", "POST /api HTTP/1.1\r\nContent-Length: 12\r\n\r\nHello"} {
		a, s := serverPair(t, nil)
		io.WriteString(a, part)
		a.Close()
		if _, err := s.Receive(t.Context()); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", part, err)
		}
	}
}

// The buffer grows with the bytes received.
func TestContentLengthAloneAllocatesNoMemory(t *testing.T) {
	r := &sizesReader{Reader: strings.NewReader(strings.Repeat("x", 1000))}
	if _, err := readBody(r, 16<<20, 16<<20, nil); err != nil || r.largest > bodyStep {
		t.Errorf("read into %d bytes, %v", r.largest, err)
	}
	for _, n := range []int{0, 1, 511, bodyStep - 1, bodyStep, bodyStep + 1, 1 << 20} {
		for _, announced := range []int64{-1, int64(n), int64(n) / 2, 0} {
			b, err := readBody(bytes.NewReader(make([]byte, n)), announced, 1<<20, nil)
			if err != nil || len(b) != n || int64(cap(b)) > 1<<20+1 {
				t.Errorf("%d bytes, announced %d: got %d of %d, %v", n, announced, len(b), cap(b), err)
			}
		}
	}
	if _, err := readBody(bytes.NewReader(make([]byte, 1001)), -1, 1000, nil); !errors.Is(err, ErrLength) {
		t.Errorf("over the limit: %v", err)
	}
}

// sizesReader has the length of the longest buffer that was read into.
type sizesReader struct {
	io.Reader
	largest int
}

func (r *sizesReader) Read(p []byte) (int, error) {
	r.largest = max(r.largest, len(p))
	return r.Reader.Read(p)
}
