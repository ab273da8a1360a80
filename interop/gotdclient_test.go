package interop

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/interop/gotd"
)

const (
	key    = "000102030405060708090a0b0c0d0e0f"
	domain = "example.com"
)

// gotdClient is one of gotd's transports.
type gotdClient struct {
	name     string
	resolver func(t *testing.T, s *site) dcs.Resolver

	// want is the transport that the listener must report. The first secret is
	// plain, the second is an ee secret.
	want mtwire.Transport
	// maxFile is the length of the largest file that gotd can send, in bytes.
	// 0 means gotd.MaxFile.
	maxFile int
	// no404 means that gotd ignores transport errors.
	no404 bool
}

// site is the listener's address, and records the client's connections to it.
type site struct {
	address *net.TCPAddr
	trust   *tls.Config

	mu     sync.Mutex
	dialed []string // the local addresses of the client's connections
}

// dial opens a TCP connection and records it.
func (s *site) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialed = append(s.dialed, conn.LocalAddr().String())
	return conn, nil
}

// carrier returns the HTTP client with which WebSocket and HTTP connect.
func (s *site) carrier(t *testing.T, maxConns int) *http.Client {
	carrier := &http.Transport{DialContext: s.dial, TLSClientConfig: s.trust.Clone(), MaxConnsPerHost: maxConns}
	t.Cleanup(carrier.CloseIdleConnections)
	return &http.Client{Transport: carrier}
}

// plain returns gotd's resolver for data centres without a proxy.
func plain(protocol dcs.Protocol) func(*testing.T, *site) dcs.Resolver {
	return func(_ *testing.T, s *site) dcs.Resolver {
		return dcs.Plain(dcs.PlainOptions{Protocol: protocol, Dial: s.dial})
	}
}

// plainObfuscated is plain with obfuscation.
func plainObfuscated(protocol dcs.Protocol) func(*testing.T, *site) dcs.Resolver {
	return func(_ *testing.T, s *site) dcs.Resolver {
		return dcs.Plain(dcs.PlainOptions{Protocol: protocol, Obfuscated: true, Dial: s.dial})
	}
}

// proxy returns gotd's resolver for MTProxy.
func proxy(secret string) func(*testing.T, *site) dcs.Resolver {
	return func(t *testing.T, s *site) dcs.Resolver {
		b, err := hex.DecodeString(secret)
		if err != nil {
			t.Fatal(err)
		}
		resolver, err := dcs.MTProxy(s.address.String(), b, dcs.MTProxyOptions{Dial: s.dial})
		if err != nil {
			t.Fatal(err)
		}
		return resolver
	}
}

// webSocket returns gotd's resolver for WebSocket, which finds the address in the
// list of data centres.
func webSocket(t *testing.T, s *site) dcs.Resolver {
	return dcs.Websocket(dcs.WebsocketOptions{DialOptions: &websocket.DialOptions{
		Subprotocols: []string{"binary"},
		HTTPClient:   s.carrier(t, 0),
	}})
}

// post returns gotd's resolver for HTTP, limited to one connection. gotd's test
// server, behind the bridge, sends a session's answers on its first connection
// only.
func post(scheme string) func(*testing.T, *site) dcs.Resolver {
	return func(t *testing.T, s *site) dcs.Resolver {
		return dcs.HTTP(dcs.HTTPOptions{
			Client: s.carrier(t, 1),
			Scheme: scheme,
			Port:   s.address.Port,
		})
	}
}

// gotdClients returns all transports of gotd's client. It lacks:
//
//   - Obfuscated Full: gotd's init payload names it as Intermediate, because
//     Full has no tag.
//   - WebSocket with other framings than Intermediate, which gotd's resolver
//     does not support.
//   - Media and test data centres, which gotd's client requests only from
//     servers that are in its list as such.
//
// gotd has an extension: ef or ee in front of a bare key selects the framing. A
// server has the same key for all of them.
func gotdClients() []gotdClient {
	tcp := func(protocol mtwire.Protocol) mtwire.Transport {
		return mtwire.Transport{Protocol: protocol, Secret: -1}
	}
	obfuscated := func(protocol mtwire.Protocol, secret int) mtwire.Transport {
		return mtwire.Transport{Obfuscated: true, Protocol: protocol, DC: gotd.DC, Secret: secret}
	}
	return []gotdClient{
		{name: "abridged", resolver: plain(transport.Abridged), want: tcp(mtwire.Abridged)},
		{name: "intermediate", resolver: plain(transport.Intermediate), want: tcp(mtwire.Intermediate)},
		{name: "padded intermediate", resolver: plain(transport.PaddedIntermediate), want: tcp(mtwire.PaddedIntermediate)},
		{name: "full", resolver: plain(transport.Full), want: tcp(mtwire.Full)},

		{name: "obfuscated abridged", resolver: plainObfuscated(transport.Abridged), want: obfuscated(mtwire.Abridged, -1)},
		{name: "obfuscated intermediate", resolver: plainObfuscated(transport.Intermediate), want: obfuscated(mtwire.Intermediate, -1)},
		{name: "obfuscated padded intermediate", resolver: plainObfuscated(transport.PaddedIntermediate), want: obfuscated(mtwire.PaddedIntermediate, -1)},

		{name: "plain secret, abridged", resolver: proxy("ef" + key), want: obfuscated(mtwire.Abridged, 0)},
		{name: "plain secret, intermediate", resolver: proxy("ee" + key), want: obfuscated(mtwire.Intermediate, 0)},
		{name: "plain secret, padded intermediate", resolver: proxy(key), want: obfuscated(mtwire.PaddedIntermediate, 0)},
		{name: "dd secret", resolver: proxy("dd" + key), want: obfuscated(mtwire.PaddedIntermediate, 0)},
		{
			name:     "ee secret",
			resolver: proxy("ee" + eeKey + hex.EncodeToString([]byte(domain))),
			want: mtwire.Transport{
				FakeTLS: true, ServerName: domain, Obfuscated: true, Protocol: mtwire.PaddedIntermediate, DC: gotd.DC, Secret: 1,
			},
			maxFile: gotd.MaxFileFakeTLS,
		},

		{name: "websocket", resolver: webSocket, want: mtwire.Transport{
			Carrier: mtwire.WebSocket, Obfuscated: true, Protocol: mtwire.Intermediate, DC: gotd.DC, Secret: -1,
		}},
		{name: "websocket over TLS", resolver: webSocket, want: mtwire.Transport{
			Carrier: mtwire.WebSocket, TLS: true, Obfuscated: true, Protocol: mtwire.Intermediate, DC: gotd.DC, Secret: -1,
		}},

		// Over HTTP, transport error 404 is the HTTP status. gotd silently
		// drops every response with another status than 200, and finds errors
		// in bodies only.
		// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
		{name: "http", resolver: post("http"), no404: true, want: mtwire.Transport{Carrier: mtwire.HTTP, Secret: -1}},
		{name: "http over TLS", resolver: post("https"), no404: true, want: mtwire.Transport{Carrier: mtwire.HTTP, TLS: true, Secret: -1}},
	}
}

const eeKey = "f0e1d2c3b4a5968778695a4b3c2d1e0f"

// Every transport of gotd's client connects to one listener on one port. The
// client creates an auth key, calls methods with data in both directions, and
// gets a transport error.
func TestGotdClientReachesOurListener(t *testing.T) {
	serverTLS, trust := certificate(t)
	secrets := make([]mtwire.Secret, 2)
	for i, text := range []string{key, "ee" + eeKey + hex.EncodeToString([]byte(domain))} {
		var err error
		if secrets[i], err = mtwire.ParseSecret(text); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{
		Secrets:       secrets,
		AllowNoSecret: true,
		TLS:           serverTLS,
	})
	if err != nil {
		t.Fatal(err)
	}
	serverKey := rsaKey(t)
	datacenter := &gotd.DataCenter{Key: serverKey}
	var accepted sync.Map // transports by the client's address
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			if err := conn.Handshake(ctx); err != nil {
				t.Errorf("handshake: %v", err)
				return
			}
			accepted.Store(conn.RemoteAddr().String(), conn.Transport())
			datacenter.Handle(ctx, conn)
		})
	}()
	r := &report{client: "gotd", server: "mtwire.Listener"}
	t.Cleanup(func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.print(t)
	})

	for _, c := range gotdClients() {
		t.Run(c.name, func(t *testing.T) {
			maxFile, proved := c.maxFile, "auth key, calls"
			if maxFile == 0 {
				maxFile = gotd.MaxFile
			}
			if !c.no404 {
				proved += ", 404"
			}
			r.add(t, c.name, proved)
			t.Parallel()

			s := &site{address: ln.Addr().(*net.TCPAddr), trust: trust}
			scheme := "ws"
			if c.want.TLS {
				scheme = "wss"
			}
			list := dcs.List{
				Options: []tg.DCOption{{ID: gotd.DC, IPAddress: s.address.IP.String(), Port: s.address.Port, Static: true}},
				Domains: map[int]string{gotd.DC: fmt.Sprintf("%s://%s/apiws", scheme, s.address)},
			}
			ctx, cancel := context.WithTimeout(ctx, testTimeout)
			defer cancel()
			connections := 1
			if err := gotd.Use(ctx, c.resolver(t, s), list, serverKey.Public(), maxFile); err != nil {
				t.Error(err)
			}
			if !c.no404 {
				connections++
				conn, err := c.resolver(t, s).Primary(ctx, gotd.DC, list)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				// Once, because the error ends a WebSocket connection.
				if err := useUnknownKey(ctx, conn, 1); err != nil {
					t.Error(err)
				}
			}

			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.dialed) != connections {
				t.Errorf("gotd opened %d connections, want %d", len(s.dialed), connections)
			}
			for _, client := range s.dialed {
				if got, _ := accepted.Load(client); got != c.want {
					t.Errorf("the listener reports %+v, want %+v", got, c.want)
				}
			}
		})
	}
}
