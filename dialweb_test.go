//go:build !js

package mtwire_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/webproxy"
)

// webRelay is a WEB proxy whose streams are served by echo.
type webRelay struct {
	web    *httptest.Server
	pages  atomic.Int32 // that were asked for
	server atomic.Pointer[webproxy.Server]
	user   webproxy.User
	stop   func()
}

// startWEB starts a relay for a host of httptest's certificate.
func startWEB(t *testing.T, user webproxy.User) *webRelay {
	t.Helper()
	r := &webRelay{user: user}
	r.restart(t)
	r.web = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.RawQuery != "" {
			r.pages.Add(1)
		}
		r.server.Load().ServeHTTP(w, req)
	}))
	r.web.EnableHTTP2 = true
	r.web.StartTLS()
	t.Cleanup(func() {
		r.stop()
		r.web.CloseClientConnections()
		r.web.Close()
	})
	return r
}

// restart replaces the relay by another one, which knows no sessions.
func (r *webRelay) restart(t *testing.T) {
	t.Helper()
	server, err := webproxy.NewServer(webproxy.ServerConfig{Host: "example.com", Users: []webproxy.User{r.user}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- mtwire.NewListener(server, &mtwire.ListenConfig{Secrets: []mtwire.Secret{r.user.Secret}}).Serve(ctx, echo)
	}()
	if old := r.server.Swap(server); old != nil {
		r.stop()
	}
	// The sessions end first: a client whose stream alone has ended may open another one in
	// its session.
	r.stop = func() { server.Close(); cancel(); <-served }
}

// config returns a config whose connections go to the relay, whatever their address is.
func (r *webRelay) config() *mtwire.DialConfig {
	return &mtwire.DialConfig{
		TLS:            &tls.Config{RootCAs: r.web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
		WEBIdleTimeout: -1,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, r.web.Listener.Addr().String())
		},
	}
}

func (r *webRelay) link() string {
	return webproxy.Link{Host: "example.com", Secret: r.user.Secret}.HTTPS()
}

// checkEcho sends a payload, and expects it back.
func checkEcho(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	payload := encrypted(9)
	if err := conn.Send(short(t), payload); err != nil {
		t.Fatal(err)
	}
	p, err := conn.Receive(short(t))
	if err != nil || len(p.Payload) != len(payload) || p.Payload[0] != payload[0]^0xff {
		t.Fatalf("%d bytes came back as %d, %v", len(payload), len(p.Payload), err)
	}
}

// All connections to a WEB proxy with one config share one session, also those that are
// dialled at the same time. It ends with the last of them.
func TestConnectionsToAWEBProxyShareASession(t *testing.T) {
	for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes, webproxy.WebSocket, webproxy.WebSocketLanes} {
		for _, text := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret} {
			t.Run(carrier.String()+"/"+text[:2], func(t *testing.T) {
				t.Parallel()
				relay := startWEB(t, webproxy.User{Name: "u", Secret: secretOf(t, text), Carrier: carrier})
				config := relay.config()
				var conns sync.WaitGroup
				all := make([]*mtwire.Conn, 5)
				for i := range all {
					conns.Go(func() {
						conn, err := mtwire.Dial(short(t), relay.link()+"&dc=-4", config)
						if err != nil {
							t.Error(err)
							return
						}
						all[i] = conn
					})
				}
				conns.Wait()
				if t.Failed() {
					return
				}
				for _, conn := range all {
					checkEcho(t, conn)
					if got := conn.Transport(); got.Carrier != mtwire.WEB || !got.TLS || !got.Obfuscated || got.DC != -4 || got.Protocol != mtwire.PaddedIntermediate {
						t.Errorf("%+v", got)
					}
				}
				if stats := relay.server.Load().Stats(); stats.Sessions != 1 || stats.Streams != len(all) || relay.pages.Load() != 1 {
					t.Errorf("%+v after %d pages", stats, relay.pages.Load())
				}
				for _, conn := range all {
					conn.Close()
				}
				eventually(t, func() bool { return relay.server.Load().Stats().Sessions == 0 })
				conn, err := mtwire.Dial(short(t), relay.link(), config)
				if err != nil {
					t.Fatal(err)
				}
				checkEcho(t, conn)
				conn.Close()
			})
		}
	}
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for ctx := short(t); !condition(); time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("waited in vain")
		}
	}
}

// When the proxy has forgotten a session, as after a restart, its connections have an
// error after which a new connection may work, and the next Dial makes a new session, with
// every carrier.
func TestASessionThatEndsIsReplaced(t *testing.T) {
	for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes, webproxy.WebSocket, webproxy.WebSocketLanes} {
		t.Run(carrier.String(), func(t *testing.T) {
			t.Parallel()
			relay := startWEB(t, webproxy.User{Name: "u", Secret: secretOf(t, mtwiretest.PlainSecret), Carrier: carrier})
			config := relay.config()
			config.WEBIdleTimeout = 0
			before, err := mtwire.Dial(short(t), relay.link(), config)
			if err != nil {
				t.Fatal(err)
			}
			checkEcho(t, before)
			relay.restart(t)
			_, err = before.Receive(short(t))
			if err == nil || !mtwire.Retryable(err) {
				t.Errorf("Retryable is false for %v", err)
			}
			after, err := mtwire.Dial(short(t), relay.link(), config)
			if err != nil {
				t.Fatal(err)
			}
			checkEcho(t, after)
			before.Close()
			after.Close()
			if relay.pages.Load() != 2 {
				t.Errorf("%d sessions", relay.pages.Load())
			}
		})
	}
}

// SOCKS5 and HTTP proxies get the host's name, and port 443.
func TestProxyDialerServesWEB(t *testing.T) {
	relay := startWEB(t, webproxy.User{Name: "u", Secret: secretOf(t, mtwiretest.PaddedSecret), Carrier: webproxy.WebSocket})
	for _, scheme := range []string{"socks5", "http"} {
		p := &loopback.Proxy{Hosts: map[string]string{"example.com:443": relay.web.Listener.Addr().String()}, Requested: make(chan string, 9)}
		dial, err := mtwire.ProxyDialer(startProxy(t, scheme, p), nil)
		if err != nil {
			t.Fatal(err)
		}
		config := relay.config()
		config.DialContext = dial
		conn, err := mtwire.Dial(short(t), relay.link(), config)
		if err != nil {
			t.Fatal(err)
		}
		checkEcho(t, conn)
		conn.Close()
		if requested := <-p.Requested; requested != "example.com:443" {
			t.Errorf("%s: %s is asked for", scheme, requested)
		}
	}
}

// What is wrong with a WEB proxy is an error of Dial, at once, without the secret.
func TestErrorsOfWEBProxies(t *testing.T) {
	relay := startWEB(t, webproxy.User{Name: "u", Secret: secretOf(t, mtwiretest.PlainSecret)})
	refused := errors.New("refused")
	for what, test := range map[string]struct {
		link   string
		change func(*mtwire.DialConfig)
		retry  bool
		want   string
	}{
		"another secret": {strings.Replace(relay.link(), "secret=0", "secret=1", 1), nil, false, "HTTP status 404"},
		"unreachable": {relay.link(), func(c *mtwire.DialConfig) {
			c.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: refused}
			}
		}, true, "refused"},
		"certificate": {relay.link(), func(c *mtwire.DialConfig) { c.TLS = nil }, false, "certificate"},
		"time limit": {relay.link(), func(c *mtwire.DialConfig) {
			c.DialTimeout = time.Millisecond
			c.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}, true, "no connection within 1ms"},
	} {
		config := relay.config()
		if test.change != nil {
			test.change(config)
		}
		conn, err := mtwire.Dial(short(t), test.link, config)
		if err == nil || mtwire.Retryable(err) != test.retry || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), mtwiretest.PlainSecret[2:]) {
			t.Errorf("%s: %v, %v", what, conn, err)
		}
	}
}

// A WEB endpoint's text is a link. It is logged without the secret, and other ports,
// paths and secrets than those of apps are refused.
func TestWEBEndpointsAreLinks(t *testing.T) {
	const key = "000102030405060708090a0b0c0d0e0f"
	for link, want := range map[string]mtwire.Endpoint{
		"tg://webproxy?server=Proxy.example.com&secret=" + key: {Address: "proxy.example.com:443"},
		"https://t.me/webproxy?server=proxy.example.com&secret=dd" + key + "&dc=-10002#x": {
			Address: "proxy.example.com:443", DC: -10002},
		"tg://webproxy?server=proxy.example.com%2Fa%2FB&secret=cAABAgMEBQYHCAkKCwwNDg8&protocol=abridged": {
			Address: "proxy.example.com:443", Path: "/a/B", Protocol: mtwire.Abridged},
	} {
		ep, err := mtwire.ParseEndpoint(link)
		if err != nil {
			t.Errorf("%s: %v", link, err)
			continue
		}
		if ep.Carrier != mtwire.WEB || !ep.TLS || !ep.Obfuscated || ep.Address != want.Address || ep.Path != want.Path ||
			want.DC != 0 && ep.DC != want.DC || want.Protocol != 0 && ep.Protocol != want.Protocol {
			t.Errorf("%s: %+v", link, ep)
		}
		var again mtwire.Endpoint
		if err := json.Unmarshal([]byte(strconv.Quote(ep.String())), &again); err != nil || again != ep {
			t.Errorf("%v became %v, %v", ep, again, err)
		}
		if text, err := json.Marshal(ep); err != nil || strings.Contains(string(text), key) || strings.Contains(string(text), "AQIDBAUG") || !strings.Contains(string(text), "proxy.example.com") {
			t.Errorf("%s, %v", text, err)
		}
		if _, err := mtwire.ParseEndpoint(ep.Redacted()); err == nil {
			t.Errorf("%s was parsed", ep.Redacted())
		}
	}
	secret := secretOf(t, key)
	for _, ep := range []mtwire.Endpoint{
		{Carrier: mtwire.WEB, Address: "proxy.example.com:443"},
		{Carrier: mtwire.WEB, Address: "proxy.example.com:8443", Secret: secret},
		{Carrier: mtwire.WEB, Address: "192.0.2.1:443", Secret: secret},
		{Carrier: mtwire.WEB, Address: "proxy.example.com:443", Path: "/a b", Secret: secret},
		{Carrier: mtwire.WEB, Address: "proxy.example.com:443", Secret: secretOf(t, mtwiretest.FakeTLSSecret)},
		{Carrier: mtwire.WEB, Address: "proxy.example.com:443", Secret: secretOf(t, "dd"+key), Protocol: mtwire.Abridged},
	} {
		if conn, err := mtwire.DialEndpoint(t.Context(), ep, nil); err == nil || !strings.HasPrefix(err.Error(), "bad endpoint: ") {
			t.Errorf("%v: %v, %v", ep.Redacted(), conn, err)
		}
	}
}
