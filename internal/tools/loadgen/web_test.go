package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
	"github.com/mtwire/mtwire/webproxy"
)

// A WEB proxy is measured as others are. Its connections share a session.
func TestWEBProxiesAreMeasured(t *testing.T) {
	dc := startDataCenter(t)
	secret, err := mtwire.ParseSecret(mtwiretest.PaddedSecret)
	if err != nil {
		t.Fatal(err)
	}
	relay, err := webproxy.NewServer(webproxy.ServerConfig{Host: "example.com", Users: []webproxy.User{{Name: "u", Secret: secret, Carrier: webproxy.WebSocket}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{
		Users:       []proxy.User{{Name: "u", Secrets: []mtwire.Secret{secret}}},
		DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewTLSServer(relay)
	// After the proxy has ended, to which the end of its listener is an error.
	t.Cleanup(func() { relay.Close(); web.CloseClientConnections(); web.Close() })
	run(t, func(ctx context.Context) error { defer p.Close(); return p.Serve(ctx, relay) })

	ep, err := mtwire.ParseEndpoint(webproxy.Link{Host: "example.com", Secret: secret}.String())
	if err != nil {
		t.Fatal(err)
	}
	target := Target{Endpoint: ep, WEB: &mtwire.DialConfig{
		TLS:            &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
		WEBIdleTimeout: -1,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
		},
	}}
	var clients []*Client
	for i := range 3 {
		c, err := target.dial(testContext(t), i, RoundPacketSize(64<<10))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	if stats := relay.Stats(); stats.Sessions != 1 || stats.Streams != len(clients) {
		t.Errorf("%+v", stats)
	}
	for _, c := range clients {
		if err := errors.Join(c.Download(testContext(t), 3), c.Upload(testContext(t), 3)); err != nil {
			t.Error(err)
		}
	}
}
