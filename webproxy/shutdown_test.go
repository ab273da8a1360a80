//go:build !js

package webproxy

import (
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Shutdown ends a session a second after it has moved nothing, or five if bytes wait, lets
// one that moves bytes open streams, and makes none. Requests without a session are told to
// come on another connection.
func TestShutdownEndsSessionsThatAreIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPS, func(c *ServerConfig) {
			c.Site = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "the site", http.StatusNotFound) })
		})
		page := h.bootstrap()
		idle, busy, blocked := h.session(), h.session(), h.session()
		h.want(h.up(blocked, 1, batch(open(1))), 204, "the blocked session")
		conn, err := h.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "not taken")
		time.Sleep(time.Minute)

		began := time.Now()
		done := make(chan error, 1)
		go func() { done <- h.Shutdown(t.Context()) }()
		synctest.Wait()
		for _, w := range []*http.Response{h.create(page), h.do("GET", "/", nil), h.do("POST", "/form", []byte("visitor"))} {
			if h.want(w, 404, "no session"); w.Header.Get("Connection") != "close" {
				t.Errorf("%v", w.Header)
			}
		}
		took := make(chan time.Duration, 1)
		go func() {
			h.want(h.down(idle, 0), 404, "the poll of the idle session")
			took <- time.Since(began)
		}()
		i := 1
		for ; time.Since(began) < 4*time.Second; i++ {
			h.want(h.up(busy, i, batch(open(uint32(i)))), 204, "a new stream of the busy session")
			c, err := h.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			poll := h.down(busy, i-1)
			if poll.StatusCode != 200 || poll.Header.Get("Connection") != "" {
				t.Errorf("%v %v", poll.Status, poll.Header)
			}
			time.Sleep(500 * time.Millisecond)
		}
		go h.down(busy, i-1) // which acknowledges the last batch
		if d := <-took; d > time.Duration(idleTicks())*drainTick {
			t.Errorf("the idle session has ended after %v", d)
		}
		if n := h.Stats().Sessions; n != 2 {
			t.Errorf("%d sessions", n)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 5*time.Second+2*drainTick {
			t.Errorf("it took %v", d)
		}
		h.want(h.down(busy, i-1), 404, "afterwards")
		if h.Shutdown(t.Context()) != nil {
			t.Error("again")
		}
	})
}

// Shutdown ends the rest when its context does.
func TestShutdownEndsAllSessionsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, WebSocketLanes, nil)
		h.session()
		ctx, cancel := context.WithTimeout(t.Context(), drainTick/2)
		defer cancel()
		if err := h.Shutdown(ctx); err != context.DeadlineExceeded || h.Stats().Sessions != 0 {
			t.Errorf("%v, %+v", err, h.Stats())
		}
	})
}
