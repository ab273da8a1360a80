package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/relay"
	"github.com/mtwire/mtwire/webproxy"
)

// A transport error arrives once, though a WebSocket has it in its close frame as well.
func TestATransportErrorArrivesOnce(t *testing.T) {
	to := endpoint(t, "ws://HOST:PORT/apiws", listen(t, nil, serve))
	address, _ := start(t, relay.Config{To: []mtwire.Endpoint{to}}, nil)
	client, err := mtwire.Dial(t.Context(), "tcp://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Send(t.Context(), message(unknown, 0)); err != nil {
		t.Fatal(err)
	}
	var code *mtwire.TransportError
	if _, err := client.Receive(t.Context()); !errors.As(err, &code) || code.Code != 404 {
		t.Errorf("%v", err)
	}
	if _, err := client.Receive(t.Context()); err == nil || errors.As(err, &code) {
		t.Errorf("then %v", err)
	}
}

// A client that every server ends is at fault itself: the preferred server stays the first
// for the next client.
func TestAClientAtFaultIsNoServersFailure(t *testing.T) {
	var first atomic.Int32
	picky := func(count *atomic.Int32) func(context.Context, *mtwire.Conn) {
		return func(ctx context.Context, conn *mtwire.Conn) {
			packet, err := conn.Receive(ctx)
			if err == nil && packet.Payload[0] == echo {
				count.Add(1)
				conn.Send(ctx, packet.Payload)
				conn.Receive(ctx)
			}
		}
	}
	address, _ := start(t, relay.Config{To: []mtwire.Endpoint{
		endpoint(t, "tcp://HOST:PORT", listen(t, nil, picky(&first))),
		endpoint(t, "tcp://HOST:PORT", listen(t, nil, picky(new(atomic.Int32)))),
	}}, nil)
	for _, kind := range []byte{announce, echo} {
		client, err := mtwire.Dial(t.Context(), "tcp://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Send(t.Context(), message(kind, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Receive(t.Context()); (err == nil) != (kind == echo) {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
	if first.Load() != 1 {
		t.Error("the preferred server is avoided")
	}
}

// webProxy starts a WEB proxy whose streams are served by handle, and returns its endpoint,
// and a config that reaches it.
func webProxy(t *testing.T, handle func(context.Context, *mtwire.Conn)) (mtwire.Endpoint, *mtwire.DialConfig, *webproxy.Server) {
	t.Helper()
	secret, err := mtwire.ParseSecret(secrets[1])
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := webproxy.NewServer(webproxy.ServerConfig{Host: "example.com", Users: []webproxy.User{{Secret: secret, Carrier: webproxy.WebSocket}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- mtwire.NewListener(proxy, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}}).Serve(ctx, handle)
	}()
	web := httptest.NewUnstartedServer(proxy)
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(func() { cancel(); proxy.Close(); <-served; web.CloseClientConnections(); web.Close() })

	ep, err := mtwire.ParseEndpoint(webproxy.Link{Host: "example.com", Secret: secret}.String())
	if err != nil {
		t.Fatal(err)
	}
	return ep, &mtwire.DialConfig{
		TLS: &tls.Config{InsecureSkipVerify: true}, WEBIdleTimeout: -1,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
		},
	}, proxy
}

// A WEB proxy is an endpoint as well, and all clients share a session.
func TestClientsShareTheSessionOfAWEBProxy(t *testing.T) {
	ep, dial, proxy := webProxy(t, mtwiretest.Echo)
	address, _ := start(t, relay.Config{To: []mtwire.Endpoint{ep}, Dial: dial}, nil)
	for range 3 {
		client, err := mtwire.Dial(t.Context(), "ws://"+address+"/apiws?protocol=abridged", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Send(t.Context(), message(echo, 5000)); err != nil {
			t.Fatal(err)
		}
		if packet, err := client.Receive(t.Context()); err != nil || len(packet.Payload) != len(message(echo, 5000)) {
			t.Fatalf("%d bytes, %v", len(packet.Payload), err)
		}
	}
	if stats := proxy.Stats(); stats.Sessions != 1 || stats.Streams != 3 {
		t.Errorf("%+v", stats)
	}
}

// A client that leaves when one server has ended its connection is no server's failure: it
// may be at fault, and must not lead others elsewhere.
func TestAClientThatLeavesIsNoServersFailure(t *testing.T) {
	closes, connections := refusing(t, 1)
	silent := listen(t, nil, func(ctx context.Context, conn *mtwire.Conn) { conn.Receive(ctx); <-ctx.Done() })
	address, r := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT", closes), endpoint(t, "tcp://HOST:PORT", silent)}}, nil)
	for range 2 {
		client, err := mtwire.Dial(t.Context(), "ws://"+address+"/apiws", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Send(t.Context(), message(echo, 16)); err != nil {
			t.Fatal(err)
		}
		<-connections
		client.Close()
	}
	for r.Stats().Failed != 2 {
		time.Sleep(time.Millisecond)
	}
}

// Data centres have hosts of their own for WebSockets, and so have their media sides. The
// CDN's is at that of another one.
func TestDataCentersOfAWebSocket(t *testing.T) {
	asked := make(chan string, 9)
	dial := func(_ context.Context, _, address string) (net.Conn, error) {
		asked <- address
		return nil, io.ErrUnexpectedEOF
	}
	address, r := start(t, relay.Config{To: []mtwire.Endpoint{{Carrier: mtwire.WebSocket}}, Dial: &mtwire.DialConfig{DialContext: dial}}, nil)
	for dc, want := range map[string]string{"2": "venus", "-4": "vesta-1", "203": "venus", "10001": "pluto"} {
		client, err := mtwire.Dial(t.Context(), "tcp://"+address+"?obfuscated=true&dc="+dc, nil)
		if err != nil {
			t.Fatal(err)
		}
		client.Send(t.Context(), message(echo, 16))
		if got := <-asked; got != want+".web.telegram.org:443" {
			t.Errorf("DC %s: %s is dialled", dc, got)
		}
		client.Close()
	}
	for r.Stats().Failed != 4 {
		time.Sleep(time.Millisecond)
	}
}
