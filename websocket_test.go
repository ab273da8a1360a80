package mtwire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/mtwire/mtwire"
)

// A transport error does not end a connection, and over WebSocket a close frame repeats it.
// A client that calls Receive after each error reaches io.EOF.
func TestTransportErrorInACloseFrameIsReturnedOnce(t *testing.T) {
	ctx := short(t)
	server, socket := serve(t, nil)
	sent := make(chan error, 1)
	go func() {
		if _, err := server.Receive(ctx); err != nil {
			sent <- err
			return
		}
		sent <- server.SendError(ctx, 404)
	}()
	dial := func(context.Context, string, string) (net.Conn, error) { return socket, nil }
	client, err := mtwire.Dial(ctx, "ws://a.example/apiws", &mtwire.DialConfig{DialContext: dial})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Send(ctx, encrypted(3)); err != nil {
		t.Fatal(err)
	}
	var told *mtwire.TransportError
	for times := range 3 {
		_, err = client.Receive(ctx)
		if times == 0 && !errors.As(err, &told) {
			t.Fatalf("in place of the error: %v", err)
		}
		if !errors.As(err, &told) {
			break
		}
	}
	if err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}
