package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// Of the requests that a visitor sends at a time over a connection of HTTP/2, the server
// behind gets some at a time, and all in the end.
func TestAVisitorHasFewConnectionsToTheServerBehind(t *testing.T) {
	const requests = 3 * maxVisits
	arrived, proceed := make(chan struct{}, requests), make(chan struct{})
	var running, most atomic.Int32
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		defer running.Add(-1)
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		arrived <- struct{}{}
		<-proceed
	}))
	defer backend.Close()
	certificate, _, err := loopback.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	server, err := New(Config{
		Host: "proxy.example.com", Site: newSite(t, backend.URL), Log: discardLog,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate.Certificates[0], nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	defer server.Close()
	visitor := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs, err := loopback.Pair()
			if err == nil {
				server.Serve(theirs)
			}
			return ours, err
		},
	}}
	defer visitor.CloseIdleConnections()
	get := func() {
		answer, err := visitor.Get("https://proxy.example.com/")
		if err != nil {
			t.Error(err)
			return
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 {
			t.Error(answer.Status, answer.Proto)
		}
	}
	var all sync.WaitGroup
	all.Go(get)
	<-arrived
	proceed <- struct{}{}
	all.Wait() // now there is a connection, which all others share
	for range requests {
		all.Go(get)
	}
	for range maxVisits {
		<-arrived
	}
	select {
	case <-arrived:
	case <-time.After(50 * time.Millisecond):
	}
	close(proceed)
	all.Wait()
	if n := most.Load(); n != maxVisits {
		t.Errorf("%d requests at a time, want %d", n, maxVisits)
	}
}

// Panics are in the log for both versions of HTTP, without the client's address.
func TestPanicsAreLogged(t *testing.T) {
	for _, line := range []string{"http: panic serving 192.0.2.7:1: x\nstack", "http2: panic serving 192.0.2.7:1: x\nstack"} {
		var log bytes.Buffer
		panics{slog.New(slog.NewTextHandler(&log, nil))}.Write([]byte(line))
		if got := log.String(); !strings.Contains(got, "stack=stack") || strings.Contains(got, "192.0.2.7") {
			t.Errorf("%q: %q", line, got)
		}
	}
}
