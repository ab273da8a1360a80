package mtwire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Allow is called once for each client, over every transport, with the transport that the
// Conn has. An error is the handshake's, and the client gets no packet.
func TestAllowIsAskedForEveryTransport(t *testing.T) {
	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("not this transport")
	for _, mode := range mtwiretest.DirectModes() {
		for _, answer := range []error{nil, refused} {
			asked := make(chan mtwire.Transport, 2)
			config := &mtwire.ListenConfig{
				TLS: serverTLS, ObfuscatedFull: true,
				Allow:           func(tr mtwire.Transport) error { asked <- tr; return answer },
				Unauthenticated: func(context.Context, net.Conn, error) {},
			}
			ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(short(t))
			var transport mtwire.Transport
			go func() {
				defer cancel()
				server, err := ln.Accept()
				ln.Close()
				if err != nil {
					return
				}
				p, err := server.Receive(ctx)
				transport = server.Transport()
				if !errors.Is(err, answer) {
					t.Errorf("%s: Receive: %v, want %v", mode.URL, err, answer)
				}
				if err == nil {
					server.Send(ctx, p.Payload)
					server.Receive(ctx)
				}
				server.Close()
			}()
			client, err := mtwire.Dial(ctx, mode.Endpoint(ln.Addr()), &mtwire.DialConfig{TLS: clientTLS, ObfuscatedFull: true})
			if err != nil {
				if answer == nil {
					t.Fatal(err)
				}
				cancel() // the refusal is an answer to the upgrade or the hello
				<-asked
				continue
			}
			client.Send(ctx, encrypted(3))
			if _, err := client.Receive(ctx); (err == nil) != (answer == nil) {
				t.Errorf("%s: the client received, with %v", mode.URL, err)
			}
			client.Close()
			<-ctx.Done()
			if got := <-asked; answer == nil && got != transport || len(asked) > 0 {
				t.Errorf("%s: asked about %v, want %v", mode.URL, got, transport)
			}
		}
	}
}

// A rejected HTTP request is passed on whole.
func TestUnauthenticatedGetsARejectedRequest(t *testing.T) {
	const request = "POST /api HTTP/1.1\r\nHost: dc.example\r\nContent-Length: 8\r\n\r\n12345678"
	got := make(chan string, 1)
	server, client := serve(t, &mtwire.ListenConfig{
		Allow: func(mtwire.Transport) error { return errors.New("no HTTP") },
		Unauthenticated: func(_ context.Context, conn net.Conn, _ error) {
			b, _ := io.ReadAll(conn)
			got <- string(b)
		},
	})
	io.WriteString(client, request)
	client.CloseWrite()
	var rejected *mtwire.UnauthenticatedError
	if err := server.Handshake(short(t)); !errors.As(err, &rejected) || <-got != request {
		t.Errorf("Handshake: %v", err)
	}
}

// A function of the config that panics does so in the goroutine that called Receive,
// where a handler can recover. The connection is then of no use.
func TestPanicOfACallbackIsTheHandlers(t *testing.T) {
	cause := errors.New("a broken table")
	for name, request := range map[string]string{
		"plain": "\xef\x0a" + strings.Repeat("x", 40), "HTTP": "POST /api HTTP/1.1\r\n\r\n",
	} {
		server, client := serve(t, &mtwire.ListenConfig{Allow: func(mtwire.Transport) error { panic(cause) }})
		io.WriteString(client, request)
		func() {
			defer func() {
				err, _ := recover().(error)
				if !errors.Is(err, cause) || !strings.Contains(err.Error(), "TestPanicOfACallbackIsTheHandlers") {
					t.Errorf("%s: recovered %v, want the cause and its stack", name, err)
				}
			}()
			server.Receive(short(t))
		}()
		if _, err := server.Receive(short(t)); err == nil {
			t.Errorf("%s: the connection is used after a panic", name)
		}
	}
}
