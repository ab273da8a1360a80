//go:build !js

package webproxy

import (
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A ping that begins while the socket ends is the last one.
func TestNoPingFollowsTheEndOfASocket(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(w, r, nil); err == nil {
			ws.CloseNow()
		}
	}))
	defer server.Close()
	ws, _, err := websocket.Dial(t.Context(), server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	ws.CloseNow()
	s := newClientSocket(nil, nil, ws)
	s.pinger = time.AfterFunc(math.MaxInt64, s.pinged)
	s.pinger.Stop() // as run does, when pinged has begun
	s.pinged()
	if s.pinger.Stop() {
		t.Error("another ping follows")
	}
}
