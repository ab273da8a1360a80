package webfront

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
	"github.com/mtwire/mtwire/relay"
)

// webSocketFronts are in front of a relay that takes WebSockets, which a proxy has as its
// upstream.
var webSocketFronts = []front{
	{"websocket-nginx.conf", "nginx", startNginx},
	{"websocket-Caddyfile", "caddy", startCaddy},
	{"websocket-haproxy.cfg", "haproxy", startHAProxy},
}

// way is a proxy whose upstream is a WebSocket behind a server, behind which a relay leads
// to a data centre.
type way struct {
	testbed
	proxy string // its address
	asked chan mtwire.DC

	mu       sync.Mutex
	attempts []proxy.Attempt
}

func newWay(t *testing.T) *way {
	w := &way{testbed: testbed{dir: t.TempDir(), port: freePort(t), backend: freePort(t)}, asked: make(chan mtwire.DC, 100)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output:\n%s", w.log.String())
		}
	})
	w.roots = x509.NewCertPool()
	w.writeCertificate(t)
	w.startRelay(t)
	return w
}

// startRelay starts a data centre and a relay to it, which takes WebSockets.
func (w *way) startRelay(t *testing.T) {
	dc := mtwiretest.NewDataCenter(&mtwiretest.Config{Log: func(e mtwiretest.Event) {
		if e.Event == "connected" && e.DC != nil {
			w.asked <- mtwire.DC(*e.DC)
		}
	}})
	t.Cleanup(dc.Close)
	to := mtwire.Endpoint{Address: dc.Addr().String(), Obfuscated: true}
	r, err := relay.New(relay.Config{To: []mtwire.Endpoint{to}, Log: slog.New(slog.NewTextHandler(&w.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:"+w.backend, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, r.Handle) }()
	t.Cleanup(func() { cancel(); <-served })
}

// startProxy starts a proxy with upstreams; all hosts are the server in front.
func (w *way) startProxy(t *testing.T, upstreams ...string) {
	t.Helper()
	config := proxy.Config{
		Users: []proxy.User{{Name: "alice", Secrets: []mtproxy.Secret{secret}}},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+w.port)
		},
		Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Traces: []*proxy.Trace{{Attempted: func(a proxy.Attempt) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.attempts = append(w.attempts, a)
		}}},
	}
	for _, text := range upstreams {
		upstream, err := proxy.ParseUpstream(text)
		if err != nil {
			t.Fatal(err)
		}
		config.Upstreams = append(config.Upstreams, upstream)
	}
	p, err := proxy.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { p.Serve(t.Context(), ln) })
	t.Cleanup(func() { p.Close(); running.Wait() })
	w.proxy = ln.Addr().String()
}

// dial connects a client to the proxy.
func (w *way) dialProxy(t *testing.T, dc mtwire.DC) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.DialEndpoint(t.Context(), mtwire.Endpoint{Address: w.proxy, Secret: secret, DC: dc}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echo sends messages and expects them back.
func echo(t *testing.T, conn *mtwire.Conn, lengths ...int) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, length := range lengths {
		text := bytes.Repeat([]byte("16 bytes of text"), length/16)
		message, _ := mtwiretest.Seal(text, frame.Client)
		if err := conn.Send(ctx, message); err != nil {
			return err
		}
		packet, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		if got, _, err := mtwiretest.Open(packet.Payload, frame.Server); err != nil || !bytes.Equal(got, text) {
			return fmt.Errorf("%d bytes come back as %d, %v", len(text), len(got), err)
		}
	}
	return nil
}

// A proxy reaches every data centre, media and test ones included, at a WebSocket behind
// each server, under a name of one's own, and under Telegram's names.
func TestAProxyReachesDataCentresAtAWebSocketBehindAServer(t *testing.T) {
	for _, f := range webSocketFronts {
		t.Run(f.config, func(t *testing.T) {
			if _, err := exec.LookPath(f.program); err != nil {
				t.Skipf("%s is not installed", f.program)
			}
			w := newWay(t)
			text, err := os.ReadFile(f.config)
			if err != nil {
				t.Fatal(err)
			}
			w.startFront(t, f, strings.Replace(string(text), "front.example.org {", "front.example.org, *.web.telegram.org {", 1))
			port := ""
			if f.program == "caddy" {
				port = ":" + w.port // by which it tells hosts
			}
			w.checkDial(t)
			for _, upstream := range []string{"wss://" + frontHost + port + "/apiws", "wss"} {
				w.startProxy(t, upstream)
				for _, dc := range []mtwire.DC{2, -4, 203, 10002, -10001} {
					if err := echo(t, w.dialProxy(t, dc), 16, 900_000, 160); err != nil {
						t.Fatalf("%s, %v: %v", upstream, dc, err)
					}
					if got := <-w.asked; got != dc {
						t.Errorf("%s: %v is asked for %v", upstream, dc, got)
					}
				}
			}
		})
	}
}

// checkDial connects with the library's client, which a relay has as well.
func (w *way) checkDial(t *testing.T) {
	t.Helper()
	to := mtwire.Endpoint{Carrier: mtwire.WebSocket, TLS: true, Address: net.JoinHostPort(frontHost, w.port), DC: -10003}
	conn, err := mtwire.DialEndpoint(t.Context(), to, &mtwire.DialConfig{TLS: &tls.Config{RootCAs: w.roots}, DialContext: w.dial})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := echo(t, conn, 16, 900_000, 160); err != nil {
		t.Error(err)
	}
	if got := <-w.asked; got != to.DC {
		t.Errorf("%v is asked for %v", to.DC, got)
	}
}

// refusals are locations of nginx that are no WebSocket, and what a failed attempt says.
var refusals = map[string][2]string{
	"/forbidden":   {`return 403;`, "403 Forbidden"},
	"/missing":     {`return 404 "a page";`, "404 Not Found"},
	"/moved":       {`return 301 https://front.example.org/apiws;`, "301 Moved Permanently"},
	"/upgrade":     {`return 426;`, "426 Upgrade Required"},
	"/broken":      {`proxy_pass http://127.0.0.1:1;`, "502 Bad Gateway"},
	"/unavailable": {`return 503 "sorry";`, "503 Service Unavailable"},
	"/page":        {`return 200 "a page";`, "200 OK"},
	"/plain":       {`proxy_pass http://127.0.0.1:7443/apiws;`, "426 Upgrade Required"}, // nginx removes the header Upgrade
}

// What nginx answers in place of a WebSocket is told, and the next upstream is used.
func TestNginxRefusesAWebSocket(t *testing.T) {
	w := nginxWay(t, func(config string) string {
		for path, r := range refusals {
			config = strings.Replace(config, "location ~", "location = "+path+" {\n"+r[0]+"\n}\nlocation ~", 1)
		}
		return config
	})
	for path, r := range refusals {
		w.attempts = nil
		w.startProxy(t, "wss://"+frontHost+path+"?weight=1000", "wss://"+frontHost+"/apiws")
		if err := echo(t, w.dialProxy(t, 2), 160); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		w.mu.Lock()
		if len(w.attempts) < 2 || w.attempts[0].Err == nil || !strings.Contains(w.attempts[0].Err.Error(), r[1]) {
			t.Errorf("%s: %+v", path, w.attempts)
		}
		w.mu.Unlock()
	}
}

// nginxWay is a way through nginx with a configuration that change changes.
func nginxWay(t *testing.T, change func(config string) string) *way {
	t.Helper()
	w, _ := nginxProcess(t, change)
	return w
}

func nginxProcess(t *testing.T, change func(config string) string) (*way, *exec.Cmd) {
	t.Helper()
	f := webSocketFronts[0]
	if _, err := exec.LookPath(f.program); err != nil {
		t.Skipf("%s is not installed", f.program)
	}
	text, err := os.ReadFile(f.config)
	if err != nil {
		t.Fatal(err)
	}
	w := newWay(t)
	return w, w.startFront(t, f, change(string(text)))
}

// nginx ends a WebSocket that is idle for longer than its limit, without a close frame. The
// proxy's client is told at once, and the next connection works.
func TestNginxEndsAnIdleWebSocket(t *testing.T) {
	w := nginxWay(t, func(config string) string {
		return strings.Replace(config, "proxy_read_timeout 1h", "proxy_read_timeout 500ms", 1)
	})
	w.startProxy(t, "wss://"+frontHost)
	for range 2 {
		conn := w.dialProxy(t, 2)
		for tries := 1; ; tries++ { // under load half a second may pass in an exchange
			err := echo(t, conn, 160)
			if err == nil {
				break
			}
			if tries == 20 {
				t.Fatal(err)
			}
			conn = w.dialProxy(t, 2)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := conn.Receive(ctx); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("an idle connection: %v", err)
		}
	}
}

// While nginx reloads, new connections work, and old ones until its workers end.
func TestConnectionsWhileNginxReloads(t *testing.T) {
	w, nginx := nginxProcess(t, func(config string) string { return config })
	w.startProxy(t, "wss://"+frontHost)
	old := w.dialProxy(t, 2)
	for range 3 {
		if err := echo(t, old, 160, 90_000); err != nil {
			t.Fatal(err)
		}
		if err := nginx.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := echo(t, w.dialProxy(t, -4), 160); err != nil {
				t.Errorf("a new connection: %v", err)
			}
		}
	}
	if err := nginx.Process.Signal(syscall.SIGTERM); err != nil { // which ends all connections
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := old.Receive(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("a connection goes on without nginx: %v", err)
	}
}

// docs/proxy.md shows the configuration of nginx as it is tested.
func TestDocumentationShowsTheTestedWebSocket(t *testing.T) {
	page, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("websocket-nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "\n"+string(text)+"```\n") {
		t.Error("docs/proxy.md does not show interop/webfront/websocket-nginx.conf")
	}
}
