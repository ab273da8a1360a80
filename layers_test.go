package mtwire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/wsconn"
)

// webSocketServer serves every WebSocket of an http.Server with handle, by Server. wrap
// may put another connection over it.
func webSocketServer(t *testing.T, overTLS bool, wrap func(net.Conn) net.Conn, handle func(conn *mtwire.Conn)) (url string, client *tls.Config) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := wsconn.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		conn := mtwire.Server(wrap(ws), nil)
		defer conn.Close()
		handle(conn)
	}))
	serverTLS, client, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if server.TLS = serverTLS; overTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/apiws", client
}

// wrapped is a connection over another one, which its NetConn returns.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// A WebSocket that was accepted elsewhere is recognised: the transport has it, and a
// transport error is in a close frame too.
func TestServerRecognisesAWebSocket(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		for name, wrap := range map[string]func(net.Conn) net.Conn{
			"itself":  func(c net.Conn) net.Conn { return c },
			"wrapped": func(c net.Conn) net.Conn { return wrapped{c} },
		} {
			found := make(chan string, 1)
			url, clientTLS := webSocketServer(t, overTLS, wrap, func(conn *mtwire.Conn) {
				if _, err := conn.Receive(short(t)); err != nil {
					t.Error(err)
				}
				found <- conn.Transport().String()
				if err := conn.SendError(short(t), 404); err != nil {
					t.Error(err)
				}
			})
			client, err := mtwire.Dial(short(t), url+"?protocol=abridged", &mtwire.DialConfig{TLS: clientTLS})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Send(short(t), encrypted(3)); err != nil {
				t.Fatal(err)
			}
			want := "websocket, obfuscated, abridged"
			if overTLS {
				want = "tls, " + want
			}
			if got := <-found; got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			for _, where := range []string{"a packet", "the close frame"} {
				var told *mtwire.TransportError
				if _, err := client.Receive(short(t)); !errors.As(err, &told) || told.Code != 404 {
					t.Errorf("%s: in %s: %v", name, where, err)
				}
			}
			if _, err := client.Receive(short(t)); err != io.EOF {
				t.Errorf("%s: at the end: %v", name, err)
			}
		}
	}
}

// In a WebSocket only obfuscation is accepted: every other first packet is unauthenticated.
func TestServerRefusesOtherTransportsInAWebSocket(t *testing.T) {
	for _, first := range []string{
		"ef" + strings.Repeat("10", 80), "eeeeeeee04000000" + strings.Repeat("00", 80), "dddddddd04000000" + strings.Repeat("00", 80),
		"100000000000000001020304" + strings.Repeat("00", 80), "504f5354202f61706920485454502f312e310d0a" + strings.Repeat("20", 80),
	} {
		refused := make(chan error, 1)
		url, _ := webSocketServer(t, false, func(c net.Conn) net.Conn { return c }, func(conn *mtwire.Conn) {
			refused <- conn.Handshake(short(t))
		})
		ws, err := wsconn.Dial(short(t), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		ws.Write(unhex(first))
		go ws.Close() // until then the server reads on
		var unauthenticated *mtwire.UnauthenticatedError
		if err := <-refused; !errors.As(err, &unauthenticated) {
			t.Errorf("%.20s...: %v", first, err)
		}
	}
}

// A client obfuscates in a WebSocket that was dialled elsewhere, whatever its endpoint
// says, and its transport names the WebSocket.
func TestClientRecognisesAWebSocket(t *testing.T) {
	url, clientTLS := webSocketServer(t, true, func(c net.Conn) net.Conn { return c }, func(conn *mtwire.Conn) {
		echo(context.Background(), conn)
	})
	ws, err := wsconn.Dial(short(t), url, &wsconn.DialConfig{TLSClientConfig: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	client, err := mtwire.Client(short(t), ws, mtwire.Endpoint{Protocol: mtwire.Abridged}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Send(short(t), encrypted(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Receive(short(t)); err != nil {
		t.Error(err)
	}
	if got, want := client.Transport().String(), "tls, websocket, obfuscated, abridged"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The connections of tls.Listen are recognised, with the client's server name, whatever
// is inside.
func TestServerRecognisesTLS(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan mtwire.Transport, 1)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- mtwire.NewListener(ln, nil).Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			if err := conn.Handshake(ctx); err != nil {
				t.Error(err)
			}
			found <- conn.Transport()
			echo(ctx, conn)
		})
	}()
	clientTLS.ServerName = "localhost"
	inTLS := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: clientTLS}).DialContext(ctx, "tcp", ln.Addr().String())
	}
	for url, want := range map[string]string{
		"tcp://localhost:1?protocol=intermediate":             "tls, tcp, intermediate",
		"tcp://localhost:1?protocol=abridged&obfuscated=true": "tls, tcp, obfuscated, abridged",
		"ws://localhost:1/apiws":                              "tls, websocket, obfuscated, intermediate",
		"http://localhost:1/api":                              "tls, http",
	} {
		client, err := mtwire.Dial(short(t), url, &mtwire.DialConfig{DialContext: inTLS})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Send(short(t), encrypted(3)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Receive(short(t)); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if got := <-found; got.String() != want || got.ServerName != "localhost" {
			t.Errorf("%s: %q for %q, want %q", url, got, got.ServerName, want)
		}
		client.Close()
	}
	cancel()
	<-served
}

// HandshakeTimeout limits the handshake of a TLS connection that was accepted elsewhere.
// Behind it a client may be silent for an hour, and a Receive may be called again.
func TestHandshakeOfAcceptedTLSHasALimit(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now() // a bubble's clock is long before the certificate
	clientTLS.Time, clientTLS.ServerName = func() time.Time { return now }, "localhost"
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(tls.Server(near, serverTLS), nil)
		start := time.Now()
		if err := server.Handshake(context.Background()); !errors.Is(err, mtwire.ErrHandshakeTimeout) || time.Since(start) > 15*time.Second {
			t.Errorf("silence: %v after %v", err, time.Since(start))
		}
		server.Close()
		far.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := mtwire.Server(tls.Server(near, serverTLS), nil)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			client := tls.Client(far, clientTLS)
			if err := client.Handshake(); err != nil {
				t.Error(err)
			}
			go io.Copy(io.Discard, client)
			time.Sleep(time.Hour)
			client.Write(unhex("ef0101020304"))
		}()
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			if _, err := server.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("while it is silent: %v", err)
			}
			cancel()
		}
		if p, err := server.Receive(context.Background()); err != nil || len(p.Payload) != 4 {
			t.Errorf("after an hour: %d bytes, %v", len(p.Payload), err)
		}
		<-sent
		server.Close()
		far.Close()
	})
}
