package mtwire

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

// serveAll serves all transports with handle until the test ends.
func serveAll(t *testing.T, handle func(context.Context, *Conn)) string {
	ln, err := Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ln.Serve(ctx, handle) }()
	t.Cleanup(func() { cancel(); <-done })
	return ln.Addr().String()
}

// A stream over TCP ends in one direction behind what was sent, and the other one goes on.
func TestCloseWriteEndsOneDirection(t *testing.T) {
	for _, protocol := range []string{"abridged", "full", "intermediate&obfuscated=true"} {
		t.Run(protocol, func(t *testing.T) {
			address := serveAll(t, func(ctx context.Context, conn *Conn) {
				packet, err := conn.Receive(ctx)
				if err != nil {
					t.Error(err)
				}
				sent := append([]byte(nil), packet.Payload...)
				if _, err := conn.Receive(ctx); err != io.EOF {
					t.Errorf("%v in place of the end", err)
				}
				conn.Send(ctx, sent)
				if err := conn.CloseWrite(ctx); err != nil {
					t.Error(err)
				}
				conn.Receive(ctx)
			})
			client, err := Dial(t.Context(), "tcp://"+address+"?protocol="+protocol, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Send(t.Context(), make([]byte, 64)); err != nil {
				t.Fatal(err)
			}
			if err := client.CloseWrite(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := client.Send(t.Context(), make([]byte, 64)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a later packet: %v", err)
			}
			if packet, err := client.Receive(t.Context()); err != nil || len(packet.Payload) != 64 {
				t.Errorf("%d bytes, %v", len(packet.Payload), err)
			}
			if _, err := client.Receive(t.Context()); err != io.EOF {
				t.Errorf("%v in place of the end", err)
			}
		})
	}
}

// A client over HTTP gets the responses that are due, and a WebSocket has no half-close
// and goes on.
func TestCloseWriteOverHTTPAndWebSocket(t *testing.T) {
	address := serveAll(t, func(ctx context.Context, conn *Conn) {
		for packet, err := conn.Receive(ctx); err == nil; packet, err = conn.Receive(ctx) {
			if conn.Transport().Carrier == HTTP {
				if err := conn.CloseWrite(ctx); !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("a server over HTTP: %v", err)
				}
			}
			conn.Send(ctx, append([]byte(nil), packet.Payload...))
		}
	})
	client, err := Dial(t.Context(), "http://"+address+"/api", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		client.Send(t.Context(), make([]byte, 64))
	}
	if err := client.CloseWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Send(t.Context(), make([]byte, 64)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a later packet: %v", err)
	}
	for range 3 {
		if packet, err := client.Receive(t.Context()); err != nil || len(packet.Payload) != 64 {
			t.Errorf("%d bytes, %v", len(packet.Payload), err)
		}
	}
	if _, err := client.Receive(t.Context()); err != io.EOF {
		t.Errorf("%v in place of the end", err)
	}

	websocket, err := Dial(t.Context(), "ws://"+address+"/apiws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer websocket.Close()
	if err := websocket.CloseWrite(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a WebSocket: %v", err)
	}
	websocket.Send(t.Context(), make([]byte, 64))
	if packet, err := websocket.Receive(t.Context()); err != nil || len(packet.Payload) != 64 {
		t.Errorf("%d bytes, %v", len(packet.Payload), err)
	}
}
