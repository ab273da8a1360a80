//go:build !js

package webproxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
	"github.com/mtwire/mtwire/webproxy"
)

// A client of the library reaches a data centre through a stream, the relay, and the
// MTProxy that the relay is a listener of, with each carrier and both kinds of
// secrets. Many streams share a session.
func TestAnMTProxyServesStreams(t *testing.T) {
	for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes, webproxy.WebSocket, webproxy.WebSocketLanes} {
		for _, text := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret} {
			t.Run(carrier.String()+"/"+text[:2], func(t *testing.T) { throughMTProxy(t, carrier, text) })
		}
	}
}

func throughMTProxy(t *testing.T, carrier webproxy.Carrier, text string) {
	dc := mtwiretest.NewDataCenter(nil)
	defer dc.Close()
	secret, err := mtproxy.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{
		Users:       []proxy.User{{Name: "alice", Secrets: []mtproxy.Secret{secret}}},
		DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}},
		Log:         slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	server, err := webproxy.NewServer(webproxy.ServerConfig{
		Host: "example.com", Users: []webproxy.User{{Name: "alice", Secret: secret, Carrier: carrier}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go p.Serve(t.Context(), server)
	web := httptest.NewUnstartedServer(server)
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	defer web.CloseClientConnections()

	config := &mtwire.DialConfig{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
		},
		TLS: &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
	}
	link := webproxy.Link{Host: "example.com", Secret: secret}.String()
	for range 3 {
		conn, err := mtwire.Dial(t.Context(), link+"&dc=-4", config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, size := range []int{8, 100_000} {
			text := bytes.Repeat([]byte("hi there"), size/8)
			message, _ := mtwiretest.Seal(text, frame.Client)
			if err := conn.Send(t.Context(), message); err != nil {
				t.Fatal(err)
			}
			packet, err := conn.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, _, err := mtwiretest.Open(packet.Payload, frame.Server); err != nil || !bytes.Equal(got, text) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}
	}
	sessions := 0
	for session := range p.Sessions() {
		if r := session.Report(); r.User != nil && r.User.Name == "alice" && r.DC == -4 {
			sessions++
		}
	}
	if stats := server.Stats(); sessions != 3 || stats.Sessions != 1 {
		t.Errorf("%d sessions of the proxy, %+v", sessions, stats)
	}
}
