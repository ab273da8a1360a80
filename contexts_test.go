package mtwire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A Receive returns when its context is cancelled. It has lost nothing: the connection
// can be used in both directions.
func TestContextsUnblockReceiveAndLoseNothing(t *testing.T) {
	for _, url := range []string{
		"tcp://%s?protocol=abridged", "tcp://%s?obfuscated=true", "ws://%s/apiws", "http://%s/api",
		"tcp://%s?secret=" + mtwiretest.FakeTLSSecret,
	} {
		t.Run(strings.SplitN(url, ":", 2)[0], func(t *testing.T) {
			address := startEcho(t, &mtwire.ListenConfig{
				Secrets: []mtwire.Secret{secretOf(t, mtwiretest.FakeTLSSecret)}, AllowNoSecret: true,
			})
			conn, err := mtwire.Dial(short(t), fmt.Sprintf(url, address), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithCancel(context.Background())
			received := make(chan error, 1)
			go func() {
				_, err := conn.Receive(ctx)
				received <- err
			}()
			cancel()
			if err := <-received; !errors.Is(err, context.Canceled) {
				t.Errorf("receive: %v", err)
			}
			if err := conn.Send(short(t), encrypted(5)); err != nil {
				t.Fatal(err)
			}
			if p, err := conn.Receive(short(t)); err != nil || len(p.Payload) != 24+5*16 {
				t.Errorf("then: %d bytes, %v", len(p.Payload), err)
			}
		})
	}
}

// A blocked call returns ctx.Err() when ctx ends, on every carrier, also if the context
// was cancelled with a cause.
func TestContextWithACauseEndsCallsWithItsError(t *testing.T) {
	const limit = 50 * time.Millisecond
	check := func(name string, call func(context.Context) error) {
		ctx, cancel := context.WithCancelCause(context.Background())
		timer := time.AfterFunc(limit, func() { cancel(errors.New("shutting down")) })
		defer timer.Stop()
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	receive := func(conn *mtwire.Conn) func(context.Context) error {
		return func(ctx context.Context) error { _, err := conn.Receive(ctx); return err }
	}
	for _, scheme := range []string{"tcp", "ws", "http"} {
		client, err := mtwire.Dial(short(t), scheme+"://"+startEcho(t, nil).String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		check(scheme+" client", receive(client))
		client.Close()
	}
	server, socket := serve(t, nil)
	socket.Write([]byte("POST /api HTTP/1.1\r\nContent-Length: 8\r\n\r\n12345678"))
	if _, err := server.Receive(short(t)); err != nil {
		t.Fatal(err)
	}
	check("HTTP server, request open", receive(server))
	if err := server.Send(short(t), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	check("HTTP server, no request", receive(server))
	check("HTTP server, sending", func(ctx context.Context) error { return server.Send(ctx, make([]byte, 8)) })
	server, socket = serve(t, nil)
	socket.Write([]byte("GET /apiws HTTP/1.1\r\n"))
	check("WebSocket handshake", receive(server))

	for name, url := range map[string]string{
		"FakeTLS client handshake":   "tcp://a.example:443?secret=" + mtwiretest.FakeTLSSecret,
		"WebSocket client handshake": "ws://a.example/apiws",
	} {
		check(name, func(ctx context.Context) error {
			silent, _ := tcpPair(t)
			dial := func(context.Context, string, string) (net.Conn, error) { return silent, nil }
			_, err := mtwire.Dial(ctx, url, &mtwire.DialConfig{DialContext: dial})
			return err
		})
	}
}

// A call that waits for another call of the same direction returns when its own context
// ends.
func TestContextUnblocksACallBehindABlockedCall(t *testing.T) {
	silent, _ := serve(t, nil)
	for name, blocked := range map[string]struct {
		conn *mtwire.Conn
		call func(ctx context.Context, conn *mtwire.Conn) error
	}{
		"send behind a handshake":    {silent, func(ctx context.Context, conn *mtwire.Conn) error { return conn.Send(ctx, make([]byte, 4)) }},
		"handshake behind a receive": {silent, func(ctx context.Context, conn *mtwire.Conn) error { return conn.Handshake(ctx) }},
	} {
		first, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			_, err := blocked.conn.Receive(first)
			ended <- err
		}()
		// The two calls may come in either order: the later one waits.
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if err := blocked.call(ctx, blocked.conn); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the first call: %v", name, err)
		}
	}
}

// A context that ends after its call, as with a deferred cancel, has no effect on the
// connection: a WebSocket's ping is still answered.
func TestContextThatEndsAfterItsCallHasNoEffect(t *testing.T) {
	pinged := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"binary"}, InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		go func() { // reads the init payload, and then the pong
			for {
				if _, _, err := ws.Read(context.Background()); err != nil {
					return
				}
			}
		}()
		<-pinged
		if err := ws.Ping(r.Context()); err != nil {
			t.Errorf("ping: %v", err)
		}
		ws.Close(websocket.StatusNormalClosure, "")
	}))
	defer server.Close()
	conn, err := mtwire.Dial(short(t), "ws"+strings.TrimPrefix(server.URL, "http")+"/apiws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		if err := conn.Handshake(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	close(pinged)
	if _, err := conn.Receive(short(t)); err != io.EOF {
		t.Errorf("receive: %v", err)
	}
}

// A Send into a full socket ends with its context. It may have sent a part, so every
// later Send fails, with an error that is net.ErrClosed and not the context's: a loop that
// sends again after timeouts ends. Receive is not affected.
func TestSendThatItsContextEndedIsTheLast(t *testing.T) {
	server, client := serve(t, nil)
	if _, err := client.Write(unhex("ef")); err != nil {
		t.Fatal(err)
	}
	if err := server.Handshake(short(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(short(t))
	defer cancel()
	go func() {
		client.Read(make([]byte, 1)) // the Send has begun
		cancel()
	}()
	big := make([]byte, 32<<20)
	err := server.Send(ctx, big)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	for range 2 {
		again := server.Send(context.Background(), big[:4])
		if !errors.Is(again, net.ErrClosed) || errors.Is(again, context.Canceled) || errors.Is(again, os.ErrDeadlineExceeded) {
			t.Errorf("then %v", again)
		}
	}
	client.Write(unhex("0101020304"))
	if p, err := server.Receive(short(t)); err != nil || len(p.Payload) != 4 {
		t.Errorf("receive: %+v, %v", p, err)
	}
}
