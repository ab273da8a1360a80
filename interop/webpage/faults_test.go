package webpage

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/webproxy"
)

// networkError is in the console for every request that fails, whatever the page does.
const networkError = "Failed to load resource"

// desktop is the app of the tests below.
var desktop = ways[0]

// A carrier whose connections are cut in mid-batch goes on: no byte is lost, doubled or
// reordered, and the app is told.
func TestACutCarrierRecovers(t *testing.T) {
	h := newHosts(t)
	for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes} {
		t.Run(carrier.String(), func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			r := h.relay(t, carrier, func() int64 { return 2_500_000 + random.Int64N(3_000_000) })
			a := desktop.load(t, h.browser, r)
			// A browser makes a request of its own again that it had just begun, without telling the page.
			for exchanges := 0; exchanges < 8 && !slices.Contains(a.states, "reconnecting"); exchanges++ {
				a.exchange(4<<20+1, 1_000_000)
			}
			t.Logf("%d cuts, states %v", r.ln.cuts.Load(), a.states)
			if r.ln.cuts.Load() == 0 || !slices.Contains(a.states, "reconnecting") || a.closed {
				t.Errorf("%d cuts, states %v, closed: %v", r.ln.cuts.Load(), a.states, a.closed)
			}
			a.until("connected", func() bool { return a.states[len(a.states)-1] == "connected" })
			if lines := a.console(sandboxWarning, networkError); len(lines) > 0 {
				t.Errorf("the console has %q", lines)
			}
		})
	}
}

// A lost WebSocket ends its stream, of which the app is told once, or the session.
func TestALostSocketIsAnEnd(t *testing.T) {
	h := newHosts(t)
	// cut makes the first WebSocket end after a megabyte.
	cut := func(r *relay) *relay {
		first := true
		r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
			if first && strings.HasSuffix(request.URL.Path, "/ws") {
				first = false
				request.Context().Value(connKey{}).(*cutConn).left.Store(1_000_000)
			}
			return false
		}
		return r
	}
	t.Run("websocket-lanes", func(t *testing.T) {
		r := cut(h.relay(t, webproxy.WebSocketLanes, unlimited))
		a := desktop.load(t, h.browser, r)
		a.exchange(100)
		a.exchange(100_000)
		lost := a.streams[7777]
		lost.data = append(lost.data, make([]byte, 3_000_000)...)
		a.flush()
		a.until("CLOSE", func() bool { return lost.closed })
		lost.data = lost.data[:lost.received]
		a.exchange(100_000)
		if a.closed || r.ln.cuts.Load() != 1 || slices.Contains(a.states, "failed") {
			t.Errorf("%d cuts, states %v", r.ln.cuts.Load(), a.states)
		}
	})
	t.Run("websocket", func(t *testing.T) {
		r := cut(h.relay(t, webproxy.WebSocket, unlimited))
		a := desktop.load(t, h.browser, r)
		a.openStream(7777, 3_000_000)
		a.until("close", func() bool { return a.closed })
		if a.states[len(a.states)-1] != "failed" {
			t.Errorf("states %v", a.states)
		}
		a.reload(r)
		a.exchange(100_000)
	})
}

// A restarted relay knows no session: the page tells the app of the end, and works when
// it is loaded again.
func TestARestartedRelayMakesTheAppReload(t *testing.T) {
	h := newHosts(t)
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) {
			r := h.relay(t, carrier, unlimited)
			a := desktop.load(t, h.browser, r)
			a.exchange(300_000)
			a.openStream(7776, 2_000_000)
			r.restart(carrier)
			if carrier == webproxy.WebSocketLanes {
				// Its sockets end with their streams; a new one cannot be opened.
				a.until("CLOSE", func() bool { return a.streams[7777].closed })
				a.openStream(7775, 1)
			}
			a.until("close", func() bool { return a.closed })
			if a.states[len(a.states)-1] != "failed" {
				t.Errorf("states %v", a.states)
			}
			a.reload(r)
			a.exchange(300_000)
			if a.closed {
				t.Error("closed again")
			}
		})
	}
}

// While a relay is busy, the page repeats the same request. Another status than those of
// the protocol is the session's end.
func TestABusyRelayIsAskedAgain(t *testing.T) {
	h := newHosts(t)
	r := h.relay(t, webproxy.HTTPS, unlimited)
	busy := map[string][][]byte{}
	status, left := http.StatusServiceUnavailable, map[string]int{"/api/v1/session": 2, "/api/v1/up": 2, "/api/v1/down": 1}
	r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		path := request.URL.Path
		if left[path] == 0 || request.Method != http.MethodPost {
			return false
		}
		left[path]--
		b, _ := io.ReadAll(request.Body)
		busy[path] = append(busy[path], append(b, request.Header.Get("X-Up-Seq")...))
		w.WriteHeader(status)
		return true
	}
	a := desktop.load(t, h.browser, r)
	a.exchange(100_000)
	for path, bodies := range busy {
		for _, b := range bodies {
			if !bytes.Equal(b, bodies[0]) {
				t.Errorf("%s is repeated with other bytes", path)
			}
		}
	}
	if len(busy["/api/v1/session"]) != 2 || len(busy["/api/v1/up"]) != 2 || !slices.Contains(a.states, "reconnecting") || a.closed {
		t.Errorf("%v, states %v", busy, a.states)
	}
	a.until("connected", func() bool { return a.states[len(a.states)-1] == "connected" })
	r.mu.Lock()
	status, left["/api/v1/up"] = http.StatusBadGateway, 1
	r.mu.Unlock()
	a.openStream(7776, 1)
	a.until("close", func() bool { return a.closed })
}

// A page that is left ends its session at once.
func TestALeftPageEndsItsSession(t *testing.T) {
	h := newHosts(t)
	r := h.relay(t, webproxy.HTTPS, unlimited)
	a := desktop.load(t, h.browser, r)
	a.exchange(1000)
	a.open("about:blank")
	eventually(t, "DELETE", func() bool { return r.current().Stats() == webproxy.Stats{} })
}

// The page is for one app. What is no message of the protocol ends it, or is ignored,
// and makes no exception.
func TestOtherMessagesAreNoFrames(t *testing.T) {
	h := newHosts(t)
	r := h.relay(t, webproxy.HTTPS, unlimited)
	a := desktop.load(t, h.browser, r)
	for _, script := range []string{
		`TelegramWebProxy.receiveControl(0, '{"t":"other"}')`,
		`TelegramWebProxy.receiveControl(0, 'null')`,
		`TelegramWebProxy.onmessage({ data: undefined })`,
		`postMessage({ t: 'tproxy-init', v: 1 }, '*', [new MessageChannel().port1])`,
	} {
		a.run(script)
	}
	for ignored := 2; ignored > 0; {
		select {
		case text := <-a.native:
			if text != "a0" {
				a.handle(text)
			} else {
				ignored--
			}
		case <-time.After(timeout):
			t.Fatal("no acknowledgement")
		}
	}
	a.exchange(1000)
	a.write([]byte{2, 0, 0, 1, 0, 0, 0, 9, 1}) // a frame that is cut
	a.until("close", func() bool { return a.closed })
	if lines := a.console(sandboxWarning); len(lines) > 0 || strings.Join(a.states, " ") != "connecting connected failed" {
		t.Errorf("states %v, the console has %q", a.states, lines)
	}
}

// What waits in the page is bounded: a stream's frames in a lane of its own by 8 MiB, and
// all frames by 32 MiB.
func TestAFullQueueIsTheEnd(t *testing.T) {
	h := newHosts(t)
	for carrier, limit := range map[webproxy.Carrier]int{webproxy.HTTPS: 32, webproxy.HTTPSLanes: 8} {
		t.Run(carrier.String(), func(t *testing.T) {
			r := h.relay(t, carrier, unlimited)
			r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
				if strings.HasSuffix(request.URL.Path, "/up") {
					<-request.Context().Done()
				}
				return false
			}
			a := desktop.load(t, h.browser, r)
			fill := `{ const open = new Uint8Array([1, 0, 0, 1, 0, 0, 0, 0]), data = new Uint8Array(8 + (1 << 20))
				data.set([2, 0, 0, 1, 0, 16, 0, 0])
				TelegramWebProxy.onmessage({ data: open.buffer })
				for (let i = 1; i < ` + strconv.Itoa(limit) + `; i++) TelegramWebProxy.onmessage({ data: data.buffer.slice() }) }`
			a.run(fill)
			a.openStream(7777, 0)
			a.until("an acknowledgement", func() bool { return a.acked == a.sequence })
			if a.closed {
				t.Errorf("closed with %d MiB", limit-1)
			}
			a.run(`TelegramWebProxy.onmessage({ data: new Uint8Array([2, 0, 0, 1, 0, 16, 0, 0, ...new Uint8Array(1 << 20)]).buffer })`)
			a.until("close", func() bool { return a.closed })
		})
	}
}
