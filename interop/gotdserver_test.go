package interop

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gotd/td/mtproxy/obfuscated2"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/interop/gotd"
)

// layers puts gotd's layers for a transport on a TCP listener.
type layers func(t *testing.T, ln net.Listener) transport.Listener

// gotdServer is one of gotd's listeners, and the endpoint to dial it.
type gotdServer struct {
	name     string
	endpoint string // with %s for the address
	listen   layers
}

// detecting is gotd's listener that detects unobfuscated framings.
func detecting(_ *testing.T, ln net.Listener) transport.Listener { return transport.Listen(ln) }

// withCodec returns gotd's listener for a known framing.
func withCodec(c func() transport.Codec) layers {
	return func(_ *testing.T, ln net.Listener) transport.Listener { return transport.ListenCodec(c, ln) }
}

// obfuscated is gotd's listener for init payloads without a secret.
func obfuscated(_ *testing.T, ln net.Listener) transport.Listener {
	return transport.Listen(transport.ObfuscatedListener(ln))
}

// withSecret is a listener for MTProxy's obfuscation. gotd has the function for
// its server side, but no listener.
func withSecret(t *testing.T, ln net.Listener) transport.Listener {
	b, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	return transport.Listen(secretListener{ln, t, b})
}

// upgrading returns gotd's listener for WebSocket, behind net/http.
func upgrading(serverTLS *tls.Config) layers {
	return func(t *testing.T, ln net.Listener) transport.Listener {
		conns, handler := transport.WebsocketListener(ln.Addr())
		server := &httptest.Server{Listener: ln, TLS: serverTLS, Config: &http.Server{Handler: handler}}
		if serverTLS != nil {
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		return transport.Listen(conns)
	}
}

// gotdServers returns all of gotd's listeners. It lacks:
//
//   - ee secrets and HTTP: gotd has only the client side, which
//     TestGotdClientReachesOurListener tests.
//   - Obfuscated Full: the init payload cannot name it, and gotd's server uses
//     the framing that the init payload names.
func gotdServers(serverTLS *tls.Config) (servers []gotdServer) {
	for _, p := range []mtwire.Protocol{mtwire.Abridged, mtwire.Intermediate, mtwire.PaddedIntermediate} {
		name, query := p.String(), "?protocol="+p.String()
		servers = append(servers,
			gotdServer{name, "tcp://%s" + query, detecting},
			gotdServer{"obfuscated " + name, "tcp://%s" + query + "&obfuscated=true", obfuscated},
			gotdServer{"plain secret, " + name, "tcp://%s" + query + "&secret=" + key, withSecret},
			gotdServer{"websocket, " + name, "ws://%s/apiws" + query, upgrading(nil)},
		)
	}
	return append(servers,
		gotdServer{"full", "tcp://%s?protocol=full", detecting},
		gotdServer{"full, expected", "tcp://%s?protocol=full", withCodec(transport.Full.Codec)},
		gotdServer{"abridged, expected", "tcp://%s?protocol=abridged", withCodec(transport.Abridged.Codec)},
		gotdServer{"websocket over TLS", "wss://%s/apiws", upgrading(serverTLS)},
		gotdServer{"dd secret", "tcp://%s?secret=dd" + key, withSecret},
	)
}

// Dial connects gotd's client to every listener of gotd. The client creates an
// auth key, calls methods with data in both directions, and gets transport
// errors.
func TestOurDialReachesGotdServer(t *testing.T) {
	serverTLS, trust := certificate(t)
	config := &mtwire.DialConfig{TLS: trust, Rand: shortPadding{}}
	serverKey := rsaKey(t)
	list := dcs.List{}
	r := &report{client: "mtwire.Dial", server: "gotd"}
	t.Cleanup(func() { r.print(t) })

	for _, s := range gotdServers(serverTLS) {
		t.Run(s.name, func(t *testing.T) {
			r.add(t, s.name, "auth key, calls, 404")
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()

			if err := gotd.Use(ctx, resolver(t, fmt.Sprintf(s.endpoint, serve(t, s)), config), list, serverKey.Public(), gotd.MaxFile); err != nil {
				t.Error(err)
			}

			conn, err := resolver(t, fmt.Sprintf(s.endpoint, serve(t, s)), config).Primary(ctx, gotd.DC, list)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := useUnknownKey(ctx, conn, 3); err != nil {
				t.Error(err)
			}
		})
	}
}

// serve runs a new instance of gotd's test server until the test ends.
func serve(t *testing.T, s gotdServer) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	layered := s.listen(t, ln)
	server := gotd.NewServer(rsaKey(t), gotd.DC)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, layered) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil && !strings.Contains(err.Error(), net.ErrClosed.Error()) {
			t.Errorf("gotd's server: %v", err)
		}
	})
	return ln.Addr().String()
}

// secretListener removes the obfuscation with gotd's obfuscated2.Accept. Its
// connections begin with the unobfuscated header of the framing that the init
// payload names, for gotd's detection.
type secretListener struct {
	net.Listener
	t      *testing.T
	secret []byte
}

func (l secretListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	rw, init, err := obfuscated2.Accept(conn, l.secret)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if dc := int16(init.DC); dc != gotd.DC {
		l.t.Errorf("gotd's server got DC %d", dc)
	}
	header := init.Protocol[:]
	if header[0] == codec.AbridgedClientStart[0] {
		header = header[:1]
	}
	return &secretConn{conn, io.MultiReader(strings.NewReader(string(header)), rw), rw}, nil
}

type secretConn struct {
	net.Conn
	r io.Reader
	w io.Writer
}

func (c *secretConn) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c *secretConn) Write(p []byte) (int, error) { return c.w.Write(p) }

// shortPadding is a source of random bytes with which mtwire uses at most three
// bytes of padding. The specification allows up to fifteen, but gotd as the
// receiver removes only the bytes above a multiple of four. It keeps four bytes
// of padding as a part of the message, which then does not decrypt.
// Specification: https://core.telegram.org/mtproto/mtproto-transports#padded-intermediate
type shortPadding struct{}

func (shortPadding) Read(p []byte) (int, error) {
	n, err := rand.Read(p)
	if len(p) == 16 {
		p[15] &^= 0x0c
	}
	return n, err
}
