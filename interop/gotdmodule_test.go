package interop

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"

	"github.com/mtwire/mtwire"
	module "github.com/mtwire/mtwire/gotd"
	"github.com/mtwire/mtwire/interop/gotd"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// resolver returns a resolver of gotd that dials an endpoint with mtwire.
func resolver(t *testing.T, endpoint string, config *mtwire.DialConfig) dcs.Resolver {
	t.Helper()
	r, err := module.NewResolver(endpoint, config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// gotd's client and gotd's server with mtwire below both: whole sessions over every
// transport but HTTP, over which gotd's server answers a session on one connection only:
// see TestGotdOverHTTPAtBothEnds.
func TestGotdOnOurTransportsAtBothEnds(t *testing.T) {
	serverTLS, trust := certificate(t)
	serverKey := rsaKey(t)
	ee := "ee" + eeKey + hex.EncodeToString([]byte(domain))
	r := &report{client: "gotd on mtwire", server: "gotd on mtwire"}
	t.Cleanup(func() { r.print(t) })
	for name, c := range map[string]struct{ secret, endpoint string }{
		"abridged":            {"", "tcp://%?protocol=abridged"},
		"full":                {"", "tcp://%?protocol=full"},
		"padded, obfuscated":  {"", "tcp://%?protocol=padded&obfuscated=true"},
		"websocket":           {"", "ws://%/apiws"},
		"websocket over TLS":  {"", "wss://%/apiws?protocol=abridged"},
		"plain secret":        {key, "tcp://%?secret=" + key},
		"dd secret":           {"dd" + key, "tcp://%?secret=dd" + key},
		"ee secret":           {ee, "tcp://%?secret=" + ee},
		"a list's address":    {"", "tcp"},
		"a list's web socket": {"", "wss"},
	} {
		t.Run(name, func(t *testing.T) {
			r.add(t, name, "auth key, calls")
			t.Parallel()
			config := &mtwire.ListenConfig{TLS: serverTLS}
			if c.secret != "" {
				secret, err := mtwire.ParseSecret(c.secret)
				if err != nil {
					t.Fatal(err)
				}
				config.Secrets = []mtwire.Secret{secret}
			}
			ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			server := gotd.NewServer(serverKey, gotd.DC)
			served := make(chan error, 1)
			go func() { served <- server.Serve(ctx, module.Listener(ln)) }()
			defer func() {
				cancel()
				<-served
			}()
			address := ln.Addr().(*net.TCPAddr)
			list := dcs.List{
				Options: []tg.DCOption{{ID: gotd.DC, IPAddress: address.IP.String(), Port: address.Port}},
				Domains: map[int]string{gotd.DC: "wss://" + address.String() + "/apiws"},
			}
			endpoint := strings.ReplaceAll(c.endpoint, "%", address.String())
			if err := gotd.Use(ctx, resolver(t, endpoint, &mtwire.DialConfig{TLS: trust}), list, serverKey.Public(), gotd.MaxFile); err != nil {
				t.Error(err)
			}
		})
	}
}

// The same through a WEB proxy, by each of its carriers.
func TestGotdThroughAWEBProxy(t *testing.T) {
	serverKey := rsaKey(t)
	secret, err := mtproxy.ParseSecret("dd" + key)
	if err != nil {
		t.Fatal(err)
	}
	r := &report{client: "gotd on mtwire", server: "gotd behind a WEB proxy"}
	t.Cleanup(func() { r.print(t) })
	for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes, webproxy.WebSocket, webproxy.WebSocketLanes} {
		t.Run(carrier.String(), func(t *testing.T) {
			r.add(t, carrier.String(), "auth key, calls")
			t.Parallel()
			relay, err := webproxy.NewServer(webproxy.ServerConfig{
				Host:  domain,
				Users: []webproxy.User{{Name: "user", Secret: secret, Carrier: carrier}},
				Site:  http.NotFoundHandler(),
			})
			if err != nil {
				t.Fatal(err)
			}
			web := httptest.NewUnstartedServer(relay)
			web.EnableHTTP2 = true
			web.StartTLS()
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			ln := mtwire.NewListener(relay, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
			server := gotd.NewServer(serverKey, gotd.DC)
			served := make(chan error, 1)
			go func() { served <- server.Serve(ctx, module.Listener(ln)) }()
			defer func() {
				cancel()
				<-served
				relay.Close()
				web.Close()
			}()
			link := webproxy.Link{Host: domain, Secret: secret}
			config := &mtwire.DialConfig{
				TLS: web.Client().Transport.(*http.Transport).TLSClientConfig,
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
				},
			}
			if err := gotd.Use(ctx, resolver(t, link.String(), config), dcs.List{}, serverKey.Public(), gotd.MaxFile); err != nil {
				t.Error(err)
			}
		})
	}
}
