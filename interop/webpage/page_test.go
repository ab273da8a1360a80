package webpage

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mtwire/mtwire/webproxy"
)

var carriers = []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes, webproxy.WebSocket, webproxy.WebSocketLanes}

// hosts is a browser, and the listeners that it connects to for host names.
type hosts struct {
	*browser
	listeners chan net.Listener
	used      atomic.Int32
}

// maxHosts is how many relays the tests have.
const maxHosts = 64

// shared is the browser of all tests: it takes seconds to start.
var shared hosts

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.browser != nil {
		shared.close()
	}
	os.Exit(code)
}

// newHosts returns the browser, which it starts for the first test.
func newHosts(t *testing.T) *hosts {
	t.Helper()
	if shared.browser != nil {
		return &shared
	}
	shared.listeners = make(chan net.Listener, maxHosts)
	rules := make([]string, maxHosts)
	for i := range rules {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		shared.listeners <- ln
		rules[i] = fmt.Sprintf("MAP proxy%d.example.com:443 %s", i, ln.Addr())
	}
	shared.browser = startBrowser(t, "--host-resolver-rules="+strings.Join(rules, ","))
	return &shared
}

// relay starts a relay for a host name that the browser knows. Every other one has a base
// path. next returns the number of bytes after which the next connection ends.
func (h *hosts) relay(t *testing.T, carrier webproxy.Carrier, next func() int64) *relay {
	t.Helper()
	i, path := h.used.Add(1)-1, ""
	if i%2 == 1 {
		path = "some/path"
	}
	return newRelay(t, fmt.Sprintf("proxy%d.example.com", i), path, <-h.listeners, carrier, next)
}

// parentURL returns the URL of the page that Telegram Desktop serves to a browser.
func parentURL(t *testing.T) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(parentPage))
	}))
	t.Cleanup(web.Close)
	return web.URL + "/"
}

// sandboxWarning is in the console of every page with the protocol's policy.
const sandboxWarning = "allow-scripts and allow-same-origin"

// atBase reports whether a URL of the page has neither the capability nor the nonce.
func (a *app) atBase(url string) bool {
	return strings.HasPrefix(url, "https://") && strings.HasSuffix(url, "/") && !strings.ContainsAny(url, "?#=")
}

// Each app moves more than a window both ways through the page, beside other streams,
// with all four carriers. The page begins and ends as the app demands, its URL
// keeps no secret, and the console stays empty.
func TestAppsMoveStreams(t *testing.T) {
	h := newHosts(t)
	for _, way := range ways {
		for _, carrier := range carriers {
			if way.strings && carrier != webproxy.HTTPS {
				continue // its bridge is Android's, but for how bytes get through
			}
			t.Run(way.name+"/"+carrier.String(), func(t *testing.T) {
				r := h.relay(t, carrier, unlimited)
				a := way.load(t, h.browser, r)
				a.exchange(4<<20+1, 300_000, 300_000)
				if a.up < 4<<20 || a.down < 4<<20 {
					a.t.Errorf("%d bytes up and %d down are reported", a.up, a.down)
				}
				a.closeStream(7777)
				bye := a.openStream(7774, 0)
				bye.data = []byte("bye")
				a.until("CLOSE", func() bool { return bye.closed && bye.received == 3 })
				a.exchange(100_000)
				eventually(t, "two streams to end", func() bool { return r.current().Stats().Streams == 3 })
				if r.got("DELETE " + r.link.Base() + "api/v1/session") {
					t.Error("DELETE before the end")
				}
				if !way.port && a.run("globalThis.policyInstalled") != "true" && way.bridge != androidScript {
					t.Error("the app's policy is not in the page")
				}
				a.leave()
				eventually(t, "DELETE", func() bool {
					return r.got("DELETE "+r.link.Base()+"api/v1/session") && r.current().Stats() == webproxy.Stats{}
				})
				if a.closed || fmt.Sprint(a.states) != "[connecting connected]" {
					t.Errorf("states %v, closed: %v", a.states, a.closed)
				}
				if lines := a.console(sandboxWarning); len(lines) > 0 {
					t.Errorf("the console has %q", lines)
				}
			})
		}
	}
}
