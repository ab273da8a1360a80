package web

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// One request of each connection is answered at any time, and further ones as long as all
// connections have few of them: what visitors have open does not grow with the requests
// that HTTP/2 carries.
func TestVisitorsShareTheFurtherRequests(t *testing.T) {
	const conns, most = 50, 20
	further := make(chan struct{}, most)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var all []visits
	var leave []func()
	for range conns {
		v := newVisits()
		all = append(all, v)
		for range 3 * maxVisits {
			// Of an ended context and room, either may be taken, but for the first request.
			if end, ok := v.enter(over, further); ok {
				leave = append(leave, end)
			}
		}
		if len(v.first) != 1 {
			t.Error("a connection's only request waits")
		}
	}
	if n := len(leave); n <= conns || n > conns+most {
		t.Errorf("%d requests of %d connections at a time, want up to %d", n, conns, conns+most)
	}
	// A request that waits is answered when one of the same connection ends.
	for range most - len(further) {
		further <- struct{}{}
	}
	answered := make(chan func())
	go func() {
		end, _ := all[conns-1].enter(t.Context(), further)
		answered <- end
	}()
	<-all[conns-1].first
	(<-answered)()
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
