package route

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/webproxy"
)

// webProxy starts a WEB proxy that serves its streams with echo, and returns its link.
func webProxy(t *testing.T, carrier webproxy.Carrier, secret string) (relay *webproxy.Server, link, address string, roots *tls.Config, transports <-chan mtwire.Transport) {
	t.Helper()
	parsed, err := mtproxy.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	relay, err = webproxy.NewServer(webproxy.ServerConfig{Host: "web.example", Path: "p", Users: []webproxy.User{{Name: "u", Secret: parsed, Carrier: carrier}}})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan mtwire.Transport, 100)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- mtwire.NewListener(relay, &mtwire.ListenConfig{Secrets: []mtwire.Secret{parsed}}).Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			if conn.Handshake(ctx) == nil {
				seen <- conn.Transport()
				mtwiretest.Echo(ctx, conn)
			}
		})
	}()
	server, client, err := loopback.Certificate("web.example")
	if err != nil {
		t.Fatal(err)
	}
	server.NextProtos = []string{"h2", "http/1.1"}
	web := httptest.NewUnstartedServer(relay)
	web.TLS, web.EnableHTTP2 = server, true
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(func() { cancel(); relay.Close(); <-served; web.CloseClientConnections(); web.Close() })
	return relay, webproxy.Link{Host: "web.example", Path: "p", Secret: parsed}.String(), web.Listener.Addr().String(), client, seen
}

// All connections through a WEB proxy are streams of one session, also those of a router
// that has taken another's place. It receives the client's number and framing.
func TestUpstreamGoesThroughAWEBProxy(t *testing.T) {
	for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes, webproxy.WebSocket, webproxy.WebSocketLanes} {
		for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret} {
			relay, link, address, roots, transports := webProxy(t, carrier, secret)
			dial, asked := redirected(address)
			config := Config{Upstreams: upstreams(t, link), DialContext: dial, TLS: roots}
			r := router(t, config)
			next := router(t, config)
			next.Inherit(r)
			for i, dc := range []datacenter.DC{-4, 10002, 203} {
				if i == 2 {
					r = next
				}
				upstream, err := r.Dial(short(t), Request{DC: dc, Protocol: frame.PaddedIntermediate, Download: keyStream()})
				if err != nil {
					t.Fatal(err)
				}
				if upstream.Address != "web.example:443" || !upstream.MTProxy || upstream.Stream.Receive == nil ||
					!strings.HasPrefix(upstream.Via, "webproxy web.example/p ") || strings.Contains(upstream.Via, mtwiretest.PlainSecret) {
					t.Errorf("%+v", upstream)
				}
				echo(t, upstream, frame.PaddedIntermediate, nil)
				if seen := <-transports; seen.DC != dc || seen.Secret != 0 || seen.Protocol != frame.PaddedIntermediate {
					t.Errorf("%v: %v", dc, seen)
				}
			}
			if stats := relay.Stats(); stats.Sessions != 1 {
				t.Errorf("%v: %+v", carrier, stats)
			}
			for range len(asked) {
				if target := <-asked; target != "web.example:443" {
					t.Errorf("%s is dialled", target)
				}
			}
			next.Close()
			for limit := time.Now().Add(time.Minute); relay.Stats().Sessions > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(limit) {
					t.Fatal("the session goes on after Close")
				}
			}
		}
	}
}

// A WEB proxy that does not know the secret, or is out of reach, is skipped, and then
// avoided. The error does not have the secret.
func TestAWEBProxyThatFailsIsSkipped(t *testing.T) {
	_, link, address, roots, _ := webProxy(t, webproxy.HTTPS, mtwiretest.PlainSecret)
	target, transports := dataCenter(t)
	other := webproxy.Link{Host: "web.example", Path: "p", Secret: mtproxy.Secret{Mode: mtproxy.Plain, Key: [16]byte{7}}}.String()
	gone := strings.Replace(link, "web.example", "gone.example", 1)
	dial := func(ctx context.Context, network, asked string) (net.Conn, error) {
		switch asked {
		case "web.example:443":
			asked = address
		case "gone.example:443":
			return nil, io.ErrUnexpectedEOF
		}
		return new(net.Dialer).DialContext(ctx, network, asked)
	}
	for text, want := range map[string]string{other: "HTTP status 404", gone: "unexpected EOF"} {
		r := router(t, Config{DataCenters: at(target), Upstreams: upstreams(t, text), DialContext: dial, TLS: roots})
		_, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0700000") || strings.Contains(err.Error(), mtwiretest.PlainSecret) {
			t.Errorf("%v", err)
		}
		r = router(t, Config{DataCenters: at(target), Upstreams: upstreams(t, text, "direct"), DialContext: dial, TLS: roots})
		upstream, err := r.Dial(short(t), Request{DC: 2, Protocol: frame.Abridged})
		if err != nil || upstream.Via != "direct" {
			t.Fatalf("%v, %v", upstream, err)
		}
		echo(t, upstream, frame.Abridged, nil)
		<-transports
		if status := r.Upstreams(); !status[0].Failing || status[1].Failing {
			t.Errorf("%+v", status)
		}
	}
}
