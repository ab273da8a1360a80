package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// visitor is a visitor of a site whose server answers when proceed is closed.
type visitor struct {
	*http.Client
	server           *Server
	arrived, proceed chan struct{}
	most             atomic.Int32 // requests at a time
}

// siteServer starts a server of a site, which is where.
func siteServer(t *testing.T, where string) *Server {
	t.Helper()
	certificate, _, err := loopback.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{
		Host: "proxy.example.com", Site: newSite(t, where), Log: discardLog,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate.Certificates[0], nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// visitorFrom returns a client at an address, which has connections of HTTP/2.
func visitorFrom(t *testing.T, s *Server, from string) *http.Client {
	remote := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 1))
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs, err := loopback.Pair()
			if err == nil {
				s.Serve(&localConn{Conn: theirs, remote: remote, table: s.local})
			}
			return ours, err
		},
	}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// newVisitor returns a visitor that has one connection of HTTP/2.
func newVisitor(t *testing.T, requests int) *visitor {
	v := &visitor{arrived: make(chan struct{}, requests), proceed: make(chan struct{})}
	var running atomic.Int32
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		defer running.Add(-1)
		n := running.Add(1)
		for m := v.most.Load(); n > m && !v.most.CompareAndSwap(m, n); m = v.most.Load() {
		}
		v.arrived <- struct{}{}
		<-v.proceed
	}))
	t.Cleanup(backend.Close)
	v.server = siteServer(t, backend.URL)
	v.Client = visitorFrom(t, v.server, "192.0.2.1")
	first := make(chan error)
	go func() { first <- v.visit() }()
	<-v.arrived
	v.proceed <- struct{}{}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	return v // now there is a connection, which all others share
}

// visit sends a request, and returns an error unless the server behind has answered.
func (v *visitor) visit() error {
	answer, err := v.Get("https://proxy.example.com/")
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 {
		return errors.New(answer.Status + " " + answer.Proto)
	}
	return nil
}

// Of the requests that a visitor sends at a time over a connection of HTTP/2, the server
// behind gets some at a time, and all in the end.
func TestAVisitorHasFewConnectionsToTheServerBehind(t *testing.T) {
	const requests = 3 * maxVisits
	v := newVisitor(t, requests)
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			if err := v.visit(); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxVisits {
		<-v.arrived
	}
	select {
	case <-v.arrived:
	case <-time.After(50 * time.Millisecond):
	}
	close(v.proceed)
	all.Wait()
	if n := v.most.Load(); n != maxVisits {
		t.Errorf("%d requests at a time, want %d", n, maxVisits)
	}
}

// Of the requests that wait to be answered, those beyond a limit end.
func TestVisitorsHaveFewRequestsThatWait(t *testing.T) {
	const requests, most = 3 * maxVisits, 10
	v := newVisitor(t, requests)
	v.server.waiting.SetLimits(shares(2 * most)) // half of them for an address
	results := make(chan error, requests)
	for range requests {
		go func() { results <- v.visit() }()
	}
	for range requests - maxVisits - most {
		if err := <-results; err == nil {
			t.Error("a request is answered too early")
		}
	}
	close(v.proceed)
	for range maxVisits + most {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := v.server.waiting.Len(); n != 0 {
		t.Errorf("%d requests wait for ever", n)
	}
}

// Bodies of requests that wait are counted as well.
func TestBodiesOfRequestsThatWaitAreCounted(t *testing.T) {
	const requests = 3 * maxVisits
	v := newVisitor(t, requests)
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			answer, err := v.Post("https://proxy.example.com/", "", strings.NewReader("body"))
			if err != nil {
				t.Error(err)
				return
			}
			answer.Body.Close()
		})
	}
	for range maxVisits {
		<-v.arrived
	}
	for start := time.Now(); v.server.bodies.Len() < requests-maxVisits && time.Since(start) < 30*time.Second; {
		time.Sleep(time.Millisecond)
	}
	if n := v.server.bodies.Len(); n < requests-maxVisits {
		t.Errorf("%d bodies are counted, while %d requests wait", n, requests-maxVisits)
	}
	close(v.proceed)
	all.Wait()
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
