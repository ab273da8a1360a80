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
	"sync"
	"testing"
	"time"
)

// Two requests are sent at once, and the second is read after the response to the
// first.
func TestPipelinedRequestsAreReadOneByOne(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, post("request number 1")+post("request number 2"))
	br := bufio.NewReader(a)
	if got, err := s.Receive(t.Context()); err != nil || string(got) != "request number 1" {
		t.Fatalf("received %q, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	if got, err := s.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("received %q, %v before the response", got, err)
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
		if _, body, _ := responseOf(t, br); body != want {
			t.Errorf("response %q, want %q", body, want)
		}
	}
}

// The wait ends with the context.
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
	if _, body, _ := responseOf(t, bufio.NewReader(a)); body != "waits until then" {
		t.Errorf("response %q", body)
	}
	if err := s.Send(t.Context(), make([]byte, 7)); !errors.Is(err, ErrLength) {
		t.Errorf("odd length: %v", err)
	}
}

// The client closes its direction after the request.
func TestHalfClosedClientReceivesTheResponse(t *testing.T) {
	a, s := serverPair(t, nil)
	io.WriteString(a, post("Hello MTProt"))
	a.(*net.TCPConn).CloseWrite()
	if _, err := s.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), []byte("an answer 12")); err != nil {
		t.Fatal(err)
	}
	if _, body, _ := responseOf(t, bufio.NewReader(a)); body != "an answer 12" {
		t.Errorf("response %q", body)
	}
	if _, err := s.Receive(t.Context()); err != io.EOF {
		t.Errorf("then %v, want EOF", err)
	}
}

// Between requests no data is lost.
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
		a.Read(make([]byte, 10)) // a part of the response
		cancel()
	}()
	if err := s.Send(ctx, make([]byte, 800)); !errors.Is(err, context.Canceled) {
		t.Fatalf("inside the response: %v", err)
	}
	if _, err := s.Receive(t.Context()); !errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		t.Errorf("afterwards: %v", err)
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
		t.Errorf("the connection is open: %v", err)
	}
}

func TestCloseUnblocksReceiveAndSend(t *testing.T) {
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

func TestServerServesTheStandardLibrarysClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serve := func(conn net.Conn) {
		s := NewServer(conn, nil)
		defer s.Close()
		for {
			packet, err := s.Receive(t.Context())
			if err == nil {
				err = s.Send(t.Context(), packet)
			}
			if err != nil {
				if err != io.EOF && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
				return
			}
		}
	}
	serving.Go(func() {
		for { // a client whose goroutines are late uses a connection once
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serve(conn) })
		}
	})
	defer serving.Wait()
	defer l.Close()
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
}

// While it waits, a server has neither a reader nor a body.
func TestIdleServerIsCheap(t *testing.T) {
	const count = 1000
	servers := make([]*Server, count)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range servers {
		servers[i] = NewServer(&net.TCPConn{}, nil)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int64(after.HeapAlloc-before.HeapAlloc) / count; each > 2048 {
		t.Errorf("%d bytes for an idle server", each)
	}
	runtime.KeepAlive(servers)
}

// Reserve is called before the buffer of a body grows, and with 0 when the request is over.
// Its error refuses the request.
func TestReserveRefusesRequests(t *testing.T) {
	full := errors.New("full")
	var last, largest int
	a, s := serverPair(t, &ServerConfig{Reserve: func(size int) error {
		last, largest = size, max(largest, size)
		if size > 300<<10 {
			return full
		}
		return nil
	}})
	go io.WriteString(a, post(string(make([]byte, 200<<10)))+post(string(make([]byte, 400<<10))))
	if b, err := s.Receive(t.Context()); err != nil || len(b) != 200<<10 || last != 0 || largest < 200<<10 {
		t.Fatalf("%d bytes, %v; at most %d reserved, %d at the end", len(b), err, largest, last)
	}
	if err := s.Send(t.Context(), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	var refused *RequestError
	if _, err := s.Receive(t.Context()); !errors.As(err, &refused) || refused.Status != 503 || !errors.Is(err, full) || last != 0 {
		t.Errorf("%v, %d reserved at the end", err, last)
	}
	br := bufio.NewReader(a)
	responseOf(t, br)
	if status, _, _ := responseOf(t, br); status != 503 {
		t.Errorf("status %d", status)
	}
}
