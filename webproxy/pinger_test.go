//go:build !js

package webproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/mtwire/mtwire/internal/wsstream"
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

// dialPipe returns a client's socket, which reads, and the relay's end of its connection. In a
// bubble of synctest.
func dialPipe(t *testing.T) (*clientSocket, net.Conn) {
	here, there := net.Pipe()
	t.Cleanup(func() { there.Close() })
	go func() {
		r, err := http.ReadRequest(bufio.NewReader(there))
		if err != nil {
			t.Error(err)
			return
		}
		w := &hijacked{httptest.NewRecorder(), there}
		if _, err := wsstream.Accept(w, r, "", 1<<20); err != nil {
			t.Error(err)
		}
	}()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return here, nil }}
	ws, _, err := websocket.Dial(t.Context(), "ws://relay.example/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	m := newMux(App, WebSocketLanes)
	m.state.greeted = true
	s := newClientSocket(m, m.lanes[SessionLane], ws)
	go s.read()
	return s, there
}

// hijacked is a ResponseWriter with a connection.
type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h *hijacked) WriteHeader(status int) {
	h.ResponseRecorder.WriteHeader(status)
	fmt.Fprintf(h.conn, "HTTP/1.1 %d \r\n", status)
	h.Header().Write(h.conn)
	io.WriteString(h.conn, "\r\n")
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// A relay that sends a message over a slow network, and answers a ping behind it, is alive. One
// that sends nothing is not.
func TestAClientTakesNoRelayForDeadThatSends(t *testing.T) {
	for _, sends := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s, peer := dialPipe(t)
			go func() {
				peer.Write([]byte{0x82, 126, 0xff, 0xff})
				for range 4 {
					time.Sleep(pingInterval / 5)
					if sends {
						peer.Write(make([]byte, 15_000))
					}
				}
			}()
			go io.Copy(io.Discard, peer)
			if alive := s.ping(); alive != sends {
				t.Errorf("sends %v: alive %v", sends, alive)
			}
			s.CloseNow()
			peer.Close()
		})
	}
}
