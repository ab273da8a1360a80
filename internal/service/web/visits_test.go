package web

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

// enter has a server begin to answer a request of a connection, from an address.
func enter(ctx context.Context, s *Server, v visits, from netip.Addr) (leave func(), ok bool) {
	select {
	case v.first <- struct{}{}:
		return v.leaveFirst, true
	default:
	}
	ctx, cancel := context.WithCancel(ctx)
	w := httptest.NewRecorder()
	f := &furtherVisit{ResponseWriter: w, control: http.NewResponseController(w), cancel: cancel, table: s.further}
	return s.enterVisit(ctx, v, f, from)
}

// One request of each connection is answered at any time, and further ones as long as all
// connections have few of them: what visitors have open does not grow with the requests
// that HTTP/2 carries.
func TestVisitorsShareTheFurtherRequests(t *testing.T) {
	const conns, most = 50, 20
	s, err := New(Config{Log: discardLog})
	if err != nil {
		t.Fatal(err)
	}
	s.further.SetLimits(shares(most))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var all []visits
	var leave []func()
	for i := range conns {
		v := newVisits()
		all = append(all, v)
		for range 3 * maxVisits {
			// Of an ended context and room, either may be taken, but for the first request.
			if end, ok := enter(over, s, v, netip.AddrFrom4([4]byte{192, 0, byte(i), 1})); ok {
				leave = append(leave, end)
			}
		}
		if len(v.first) != 1 {
			t.Error("a connection's only request waits")
		}
	}
	if n := len(leave); n != conns+s.further.Len() || s.further.Len() != most {
		t.Errorf("%d requests of %d connections at a time, want %d", n, conns, conns+most)
	}
	// A request that waits is answered when one of the same connection ends.
	last := all[conns-1]
	answered := make(chan func())
	go func() {
		end, _ := enter(t.Context(), s, last, netip.MustParseAddr("192.0.2.1"))
		answered <- end
	}()
	<-last.first
	(<-answered)()
	last.first <- struct{}{}
	for _, end := range leave {
		end()
	}
	if n := s.further.Len(); n != 0 {
		t.Errorf("%d further requests after the end of all", n)
	}
}

// Further requests whose answers are not read leave room for other networks, also if one
// network, or several, have as many as they can: a visitor beside them is served, and one of
// the network that has most ends.
func TestAnswersThatAreNotReadMakeRoom(t *testing.T) {
	begun, over, proceed := make(chan string, 100), make(chan string, 100), make(chan struct{})
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := r.Header.Get("X-Forwarded-For")
		switch r.URL.Path {
		case "/endless":
			begun <- from
			for b := make([]byte, 1<<10); ; {
				if _, err := w.Write(b); err != nil {
					break
				}
			}
			over <- from
		case "/slow":
			begun <- from
			<-proceed
		}
	}))
	t.Cleanup(behind.Close) // after that of the site
	s := siteServer(t, behind.URL)
	s.further.SetLimits(shares(8)) // 4 of an address, 6 of a site
	request := func(client *http.Client, path string) { client.Get("https://proxy.example.com" + path) }
	for _, c := range []struct {
		from     string
		requests int
	}{{"192.0.2.1", 5}, {"192.0.2.2", 3}, {"203.0.113.1", 3}} {
		client := visitorFrom(t, s, c.from)
		for range c.requests { // the first of which is no further one
			go request(client, "/endless")
			if got := <-begun; got != c.from {
				t.Fatalf("the site sees %s, want %s", got, c.from)
			}
		}
	}
	if n := s.further.Len(); n != 8 {
		t.Fatalf("%d further requests", n)
	}
	defer close(proceed)
	visitor := visitorFrom(t, s, "198.51.100.1")
	go request(visitor, "/slow")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://proxy.example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := visitor.Do(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("the visitor gets %+v, %v", answer, err)
	}
	answer.Body.Close()
	select {
	case from := <-over:
		if from != "192.0.2.1" && from != "192.0.2.2" {
			t.Errorf("an answer to %s ends", from)
		}
	case <-time.After(time.Minute):
		t.Error("no answer ends")
	}
}

// The site answers every request of a visitor, and package http none that it could have
// answered in its place.
func TestTheSiteAnswersOptionsOfTheWholeServer(t *testing.T) {
	_, address := plainServer(t, "", discardLog)
	conn := exchange(t, address, "OPTIONS * HTTP/1.1\r\nHost: proxy.example.com\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("status %d, and the site knows no OPTIONS", answer.StatusCode)
	}
	var got string
	behind := httptest.NewServer(nil)
	behind.Config.DisableGeneralOptionsHandler = true
	behind.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Method + " " + r.RequestURI })
	defer behind.Close()
	_, address = plainServer(t, behind.URL, discardLog)
	io.ReadAll(exchange(t, address, "OPTIONS * HTTP/1.1\r\nHost: proxy.example.com\r\nConnection: close\r\n\r\n"))
	if got != "OPTIONS *" {
		t.Errorf("the server behind got %q", got)
	}
}
