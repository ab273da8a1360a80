package gotd_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/telegram/dcs"

	"github.com/mtwire/mtwire/gotd"
)

// gotd's names for a connection that needs http_wait.
type waiter interface {
	HTTPWaitParams() (maxDelay, waitAfter, maxWait int)
	StartHTTPWait(frame func(context.Context) (*bin.Buffer, error))
}

// A packet that the server has of its own accord arrives by a request of http_wait, of
// which there is one at a time, and Close ends it.
func TestPacketsArriveOverHTTPWithoutASend(t *testing.T) {
	pushed := make(chan string)
	open := make(chan int, 8)
	polls := 0
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the server then notices that the client leaves
		polls++                     // the race detector tells of a second one
		open <- polls
		select {
		case text := <-pushed:
			w.Write([]byte(text))
		case <-r.Context().Done():
		}
	}))
	defer site.Close()
	r, err := gotd.NewResolver(site.URL+"/api", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.Primary(t.Context(), 2, dcs.List{})
	if err != nil {
		t.Fatal(err)
	}
	w := conn.(waiter)
	if _, _, wait := w.HTTPWaitParams(); wait < 1000 {
		t.Errorf("a server is asked to wait for %d ms", wait)
	}
	w.StartHTTPWait(func(context.Context) (*bin.Buffer, error) {
		return &bin.Buffer{Buf: []byte("http_wait, encrypted....")}, nil
	})
	for _, text := range []string{"the first packet", "the second one.."} {
		<-open
		pushed <- text
		var b bin.Buffer
		if err := conn.Recv(t.Context(), &b); err != nil || string(b.Buf) != text {
			t.Fatalf("received %q, %v", b.Buf, err)
		}
	}
	<-open
	conn.Close()
	if err := conn.Recv(t.Context(), &bin.Buffer{}); err == nil {
		t.Error("received after Close")
	}
}
