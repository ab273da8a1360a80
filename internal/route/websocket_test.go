package route

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// webSocketRequest is what a WebSocket server has seen.
type webSocketRequest struct {
	host, path, alpn string
	header           http.Header
	transport        mtwire.Transport
}

// webSocketServer starts data centres behind WebSockets, one for all names, that echo. If
// answer is not nil, it answers requests for which it returns true.
func webSocketServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request) bool) (address string, roots *tls.Config, requests <-chan webSocketRequest) {
	t.Helper()
	server, client, err := loopback.Certificate("*.web.telegram.org", "front.example")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan webSocketRequest, 100)
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer != nil && answer(w, r) {
			return
		}
		request := webSocketRequest{host: r.Host, path: r.URL.Path, alpn: r.TLS.NegotiatedProtocol, header: r.Header}
		r.URL.Path = "/apiws" // whatever the front's path is
		mtwire.Handler(nil, func(ctx context.Context, conn *mtwire.Conn) {
			if conn.Handshake(ctx) != nil {
				return
			}
			request.transport = conn.Transport()
			seen <- request
			mtwiretest.Echo(ctx, conn)
		}).ServeHTTP(w, r)
	}))
	server.NextProtos = []string{"h2", "http/1.1"}
	web.TLS = server
	web.EnableHTTP2 = true
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	return web.Listener.Addr().String(), client, seen
}

// redirected returns a DialContext that connects to address, and notes what is asked for.
func redirected(address string) (dial func(context.Context, string, string) (net.Conn, error), asked chan string) {
	asked = make(chan string, 100)
	return func(ctx context.Context, network, target string) (net.Conn, error) {
		asked <- target
		return new(net.Dialer).DialContext(ctx, network, address)
	}, asked
}

// Each data centre is reached at its own host, media at the second name, and the test
// environment at its path. The init payload has the client's number, in fast mode and
// without it. The hello offers HTTP/1.1 only, to a server that has HTTP/2 as well.
func TestDataCentresAreReachedAtTheirWebSockets(t *testing.T) {
	address, roots, requests := webSocketServer(t, nil)
	dial, asked := redirected(address)
	for dc, want := range map[datacenter.DC]string{
		1: "pluto.web.telegram.org /apiws", 2: "venus.web.telegram.org /apiws", 3: "aurora.web.telegram.org /apiws",
		4: "vesta.web.telegram.org /apiws", 5: "flora.web.telegram.org /apiws", 203: "venus.web.telegram.org /apiws",
		-4: "vesta-1.web.telegram.org /apiws", -1: "pluto-1.web.telegram.org /apiws",
		10002: "venus.web.telegram.org /apiws_test", -10001: "pluto-1.web.telegram.org /apiws_test",
	} {
		r := router(t, Config{Upstreams: upstreams(t, "wss"), DialContext: dial, TLS: roots, DisableFastMode: dc == 2})
		download := keyStream()
		upstream, err := r.Dial(short(t), Request{DC: dc, Protocol: frame.Intermediate, Download: download})
		if err != nil {
			t.Fatal(err)
		}
		host, _, _ := strings.Cut(want, " ")
		if target := <-asked; target != host+":443" || upstream.Address != target || upstream.Via != "wss" || upstream.MTProxy || (upstream.Stream.Receive == nil) == (dc == 2) {
			t.Errorf("%v: %s is dialled, %+v", dc, target, upstream)
		}
		echo(t, upstream, frame.Intermediate, download)
		got := <-requests
		if got.host+" "+got.path != want || got.alpn != "http/1.1" || got.transport.DC != dc || got.transport.Carrier != mtwire.WebSocket {
			t.Errorf("%v: %+v", dc, got)
		}
		if h := got.header; h.Get("Origin") != "https://web.telegram.org" || !strings.Contains(h.Get("User-Agent"), "Chrome/") || h.Get("Sec-WebSocket-Protocol") != "binary" {
			t.Errorf("%v", h)
		}
	}
	r := router(t, Config{Upstreams: upstreams(t, "wss"), DataCenters: map[datacenter.DC][]string{77: {"a:1"}}, DialContext: dial, TLS: roots})
	for _, dc := range []datacenter.DC{77, 6} {
		if _, err := r.Dial(short(t), Request{DC: dc, Protocol: frame.Intermediate}); err == nil || len(asked) > 0 {
			t.Errorf("DC %v: %v, %d dials", dc, err, len(asked))
		}
	}
}

// A front serves all data centres under its own name, port and path. One of Telegram's own
// hosts serves its data centre, and others go elsewhere.
func TestAWebSocketURLIsForAllDataCentresOrOne(t *testing.T) {
	address, roots, requests := webSocketServer(t, nil)
	dial, asked := redirected(address)
	r := router(t, Config{Upstreams: upstreams(t, "wss://front.example:8443/tunnel/tg", "wss://kws4-1.web.telegram.org?weight=1000"), DialContext: dial, TLS: roots})
	for _, dc := range []datacenter.DC{2, 5, -10003} {
		upstream, err := r.Dial(short(t), Request{DC: dc, Protocol: frame.Abridged, Download: keyStream()})
		if err != nil {
			t.Fatal(err)
		}
		if target := <-asked; target != "front.example:8443" {
			t.Errorf("%s is dialled", target)
		}
		upstream.Stream.Conn.Write(upstream.Stream.Init)
		got, path := <-requests, "/tunnel/tg"
		if dc.Test() {
			path += "_test"
		}
		if got.host != "front.example:8443" || got.path != path || got.transport.DC != dc {
			t.Errorf("%+v", got)
		}
		upstream.Close()
	}
	upstream, err := r.Dial(short(t), Request{DC: -4, Protocol: frame.Abridged, Download: keyStream()})
	if target := <-asked; err != nil || target != "kws4-1.web.telegram.org:443" || upstream.Via != "wss://kws4-1.web.telegram.org/apiws" {
		t.Fatalf("%s is dialled, %v", target, err)
	}
	upstream.Close()
}

// A host that does not serve the data centre, has another's certificate or no WebSocket is
// a failed attempt, and the next one is tried. The error has the cause.
func TestAWebSocketThatFailsIsSkipped(t *testing.T) {
	address, roots, requests := webSocketServer(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch r.Host {
		case "venus.web.telegram.org":
			http.Redirect(w, r, "https://core.telegram.org/", http.StatusFound)
			return true
		case "aurora.web.telegram.org", "kws3.web.telegram.org":
			http.Error(w, "sorry", http.StatusBadGateway)
			return true
		}
		return false
	})
	dial, asked := redirected(address)
	r := router(t, Config{Upstreams: upstreams(t, "wss"), DialContext: dial, TLS: roots})
	for i, want := range [][]string{{"venus", "kws2"}, {"kws2"}} { // the failure is remembered
		upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged, Download: keyStream()})
		if err != nil {
			t.Fatal(err)
		}
		upstream.Stream.Conn.Write(upstream.Stream.Init)
		<-requests
		upstream.Close()
		for _, name := range want {
			if target := <-asked; target != name+".web.telegram.org:443" {
				t.Errorf("dial %d: %s", i, target)
			}
		}
	}
	_, err := r.Dial(short(t), Request{DC: 3, Protocol: frame.Abridged})
	if err == nil || !strings.Contains(err.Error(), "aurora.web.telegram.org:443 (wss): the WebSocket server responded 502 Bad Gateway; kws3") {
		t.Errorf("%v", err)
	}
	r = router(t, Config{Upstreams: upstreams(t, "wss"), DialContext: dial}) // the system's roots
	if _, err := r.Dial(short(t), Request{DC: 4, Protocol: frame.Abridged}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
	r = router(t, Config{Upstreams: upstreams(t, "wss://other.example"), DialContext: dial, TLS: roots})
	if _, err := r.Dial(short(t), Request{DC: 4, Protocol: frame.Abridged}); err == nil || !strings.Contains(err.Error(), "not other.example") {
		t.Errorf("%v", err)
	}
}

// A SOCKS5 or HTTP proxy in front of WebSockets gets the host's name.
func TestWebSocketsAreReachedThroughProxies(t *testing.T) {
	address, roots, requests := webSocketServer(t, nil)
	for _, scheme := range []string{"socks5", "http"} {
		p := &loopback.Proxy{Credentials: "me:p&w", Hosts: map[string]string{"venus.web.telegram.org:443": address}, Requested: make(chan string, 10)}
		ln := listen(t)
		handle := p.SOCKS5
		if scheme == "http" {
			handle = p.HTTP
		}
		serve(t, ln, handle)
		text := "wss?weight=2&via=" + scheme + "://me:p%26w@" + ln.Addr().String()
		r := router(t, Config{Upstreams: upstreams(t, text), TLS: roots})
		download := keyStream()
		upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.PaddedIntermediate, Download: download})
		if err != nil {
			t.Fatal(err)
		}
		if upstream.Via != "wss?via="+scheme+"://"+ln.Addr().String() {
			t.Errorf("via %s", upstream.Via)
		}
		echo(t, upstream, frame.PaddedIntermediate, download)
		<-requests
		if requested := <-p.Requested; requested != "venus.web.telegram.org:443" {
			t.Errorf("%s: %s is asked for", scheme, requested)
		}
	}
}

// Probe asks the data centres at their WebSockets.
func TestProbeAsksOverWebSockets(t *testing.T) {
	server, roots, err := loopback.Certificate("*.web.telegram.org")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{TLS: server})
	if err != nil {
		t.Fatal(err)
	}
	dc := &mtwiretest.DataCenter{Listener: ln}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- dc.Serve(ctx) }()
	defer func() { cancel(); <-served }()
	dial, _ := redirected(ln.Addr().String())
	r := router(t, Config{Upstreams: upstreams(t, "wss"), DialContext: dial, TLS: roots, DataCenters: map[datacenter.DC][]string{77: {"a:1"}}})
	probes := r.Probe(short(t))
	for _, p := range probes {
		if want := p.DC != 77; (p.Err == nil) != want || p.Upstream != "wss" {
			t.Errorf("%+v", p)
		}
	}
	if !slices.ContainsFunc(probes, func(p Probe) bool { return p.Address == "flora.web.telegram.org:443" }) {
		t.Errorf("%+v", probes)
	}
}

// A server that is silent after TCP, or after TLS, takes no longer than the attempt's time
// limit.
func TestDialTimeoutLimitsASilentWebSocket(t *testing.T) {
	server, roots, err := loopback.Certificate("front.example")
	if err != nil {
		t.Fatal(err)
	}
	plain, secure := listen(t), listen(t)
	read := func(conn net.Conn) error { _, err := io.Copy(io.Discard, conn); return err }
	serve(t, plain, read)
	serve(t, tls.NewListener(secure, server), read)
	for want, ln := range map[string]net.Listener{"TLS handshake: ": plain, "request for a WebSocket: ": secure} {
		dial, _ := redirected(ln.Addr().String())
		for limit := 100 * time.Millisecond; ; limit *= 4 { // the handshake of TLS may take a part of it, or all
			r := router(t, Config{Upstreams: upstreams(t, "wss://front.example"), DialContext: dial, TLS: roots, DialTimeout: limit})
			_, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged})
			if err != nil && strings.Contains(err.Error(), want+context.DeadlineExceeded.Error()) {
				break
			}
			if limit > 20*time.Second || err == nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(short(t))
		time.AfterFunc(20*time.Millisecond, cancel)
		r := router(t, Config{Upstreams: upstreams(t, "wss://front.example"), DialContext: dial, TLS: roots, DialTimeout: time.Hour})
		if _, err := r.Dial(ctx, Request{DC: 2, Protocol: frame.Abridged}); fmt.Sprint(err) == "" || ctx.Err() == nil {
			t.Errorf("%v", err)
		}
	}
}
