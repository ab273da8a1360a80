package mtwire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/mtwiretest"
)

// startMux serves handle below /app/ of a mux that has another page, over HTTP and, if
// secure, HTTPS with HTTP/2. It returns the server and its host:port.
func startMux(t *testing.T, config *mtwire.ListenConfig, secure bool, handle func(context.Context, *mtwire.Conn)) (srv *httptest.Server, address string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/app/", mtwire.Handler(config, handle))
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "a page") })
	srv = httptest.NewUnstartedServer(mux)
	srv.EnableHTTP2 = secure
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv, srv.Listener.Addr().String()
}

// WebSocket and HTTP are served with and without TLS, with the transport that they have.
func TestHandlerServesBothCarriers(t *testing.T) {
	for url, want := range map[string]string{
		"ws://%s/app/apiws?protocol=abridged": "websocket, obfuscated, abridged",
		"wss://%s/app/apiws?dc=-4":            "tls, websocket, obfuscated, intermediate",
		"http://%s/app/api":                   "http",
		"https://%s/app/apiw1":                "tls, http",
		"ws://%s/app/any/path?dc=10002":       "websocket, obfuscated, intermediate",
	} {
		transports := make(chan mtwire.Transport, 10)
		secure := strings.HasPrefix(url, "wss") || strings.HasPrefix(url, "https")
		srv, address := startMux(t, nil, secure, func(ctx context.Context, conn *mtwire.Conn) {
			if conn.RemoteAddr() == nil || conn.LocalAddr().String() == "" {
				t.Errorf("%s: no addresses", url)
			}
			echo(ctx, conn)
			transports <- conn.Transport()
		})
		config := &mtwire.DialConfig{}
		if secure {
			config.TLS = srv.Client().Transport.(*http.Transport).TLSClientConfig
		}
		conn, err := mtwire.Dial(short(t), strings.Replace(url, "%s", address, 1), config)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			sent := encrypted(5)
			if err := conn.Send(short(t), sent); err != nil {
				t.Fatal(err)
			}
			p, err := conn.Receive(short(t))
			if sent[0] ^= 0xff; err != nil || !bytes.Equal(p.Payload, sent) {
				t.Fatalf("%s: %v", url, err)
			}
		}
		conn.Send(short(t), make([]byte, 444)) // answered with an error
		var code *mtwire.TransportError
		if _, err := conn.Receive(short(t)); !errors.As(err, &code) || code.Code != 444 {
			t.Errorf("%s: %v, want a transport error", url, err)
		}
		conn.Close()
		if got := <-transports; got.String() != want {
			t.Errorf("%s: %v, want %s", url, got, want)
		}
	}
}

// post sends a request and returns the response's status, body and header.
func post(t *testing.T, client *http.Client, method, url string, body []byte) (status int, got string, resp *http.Response) {
	t.Helper()
	req, err := http.NewRequestWithContext(short(t), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err = client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp
}

// Requests of one connection, HTTP/1 or HTTP/2, have nothing to do with one another: a
// page, packets, and a request that is not answered.
func TestHandlerTreatsRequestsSeparately(t *testing.T) {
	for _, secure := range []bool{false, true} {
		srv, _ := startMux(t, &mtwire.ListenConfig{HTTP: &httpconn.ServerConfig{WaitLimit: 1}}, secure, func(ctx context.Context, conn *mtwire.Conn) {
			p, err := conn.Receive(ctx)
			if err != nil {
				t.Errorf("first Receive: %v", err)
			}
			switch string(p.Payload) {
			case "answer..":
				conn.Send(ctx, []byte("answered"))
				if err := conn.Send(ctx, []byte("answered")); err == nil {
					t.Error("two responses were sent")
				}
			case "nothing.":
				if err := conn.SendEmpty(ctx); err != nil {
					t.Errorf("SendEmpty: %v", err)
				}
			case "return..":
				return
			}
			if _, err := conn.Receive(ctx); err != io.EOF {
				t.Errorf("second Receive: %v, want EOF", err)
			}
		})
		for request, want := range map[string]string{"answer..": "answered", "nothing.": "", "return..": "", "long poll...": ""} {
			status, got, resp := post(t, srv.Client(), "POST", srv.URL+"/app/api", []byte(request))
			if status != 200 || got != want || (resp.ProtoMajor == 2) != secure {
				t.Errorf("%q: %d, %q over %s", request, status, got, resp.Proto)
			}
			if _, got, _ := post(t, srv.Client(), "GET", srv.URL+"/page", nil); got != "a page" {
				t.Errorf("the page is %q", got)
			}
		}
	}
}

func TestHandlerRefuses(t *testing.T) {
	secret := secretOf(t, mtwiretest.PaddedSecret)
	open := &mtwire.ListenConfig{MaxLength: 1000}
	noHTTP := &mtwire.ListenConfig{Allow: func(tr mtwire.Transport) error { return errors.New(tr.String()) }}
	withSecret := &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}}
	for _, test := range []struct {
		config       *mtwire.ListenConfig
		method, path string
		length, want int
	}{
		{open, "POST", "/app/api", 9, 404}, {open, "POST", "/app/api", 1004, 413}, {open, "PUT", "/app/api", 40, 405},
		{open, "GET", "/app/api", 0, 426}, {open, "OPTIONS", "/app/api", 0, 405}, {open, "OPTIONS", "/app/apiw1", 0, 200},
		{noHTTP, "POST", "/app/api", 40, 404}, {withSecret, "POST", "/app/api", 40, 404},
	} {
		srv, _ := startMux(t, test.config, false, func(ctx context.Context, conn *mtwire.Conn) { t.Error("handled") })
		status, _, resp := post(t, srv.Client(), test.method, srv.URL+test.path, make([]byte, test.length))
		if status != test.want {
			t.Errorf("%s %s with %d bytes: %d, want %d", test.method, test.path, test.length, status, test.want)
		}
		if origin := resp.Header.Get("Access-Control-Allow-Origin"); (origin == "*") != (test.path == "/app/apiw1") {
			t.Errorf("%s: allowed origin %q", test.path, origin)
		}
	}
}

// A WebSocket on a mux needs the secret inside; without it there is an upgrade, and no
// packet.
func TestHandlerAsksForSecrets(t *testing.T) {
	handled := make(chan error, 1)
	_, address := startMux(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secretOf(t, mtwiretest.PaddedSecret)}}, false,
		func(ctx context.Context, conn *mtwire.Conn) {
			_, err := conn.Receive(ctx)
			if err == nil {
				err = conn.Send(ctx, encrypted(1))
			}
			handled <- err
		})
	for query, authenticated := range map[string]bool{"?secret=" + mtwiretest.PaddedSecret: true, "": false} {
		conn, err := mtwire.Dial(short(t), "ws://"+address+"/app/apiws"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.Send(short(t), encrypted(3))
		_, err = conn.Receive(short(t))
		conn.Close()
		var rejected *mtwire.UnauthenticatedError
		if cause := <-handled; (err == nil) != authenticated || errors.As(cause, &rejected) == authenticated {
			t.Errorf("%q: the client received with %v, the handler has %v", query, err, cause)
		}
	}
}

// SendEmpty is for HTTP: it answers there, and does nothing elsewhere.
func TestSendEmptyAnswersHTTPOnly(t *testing.T) {
	ln := startServing(t, nil, func(ctx context.Context, conn *mtwire.Conn) {
		for {
			if _, err := conn.Receive(ctx); err != nil {
				return
			}
			if err := conn.SendEmpty(ctx); err != nil {
				t.Errorf("%v: %v", conn.Transport(), err)
			}
			if conn.Transport().Carrier != mtwire.HTTP {
				conn.Send(ctx, encrypted(1))
			}
		}
	})
	address := ln.Addr().String()
	for range 2 {
		if status, body, _ := post(t, http.DefaultClient, "POST", "http://"+address+"/api", make([]byte, 40)); status != 200 || body != "" {
			t.Errorf("%d, %q", status, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	for _, scheme := range []string{"tcp", "ws"} {
		conn, err := mtwire.Dial(short(t), scheme+"://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.Send(short(t), encrypted(3))
		if _, err := conn.Receive(short(t)); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		conn.Close()
	}
}
