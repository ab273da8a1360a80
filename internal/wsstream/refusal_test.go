package wsstream

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A refusal is told when its head has come: the page below it may never end.
func TestARefusalDoesNotWaitForItsPage(t *testing.T) {
	for _, length := range []string{"Content-Length: 100\r\n", ""} {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		go io.Copy(io.Discard, server)
		go server.Write([]byte("HTTP/1.1 404 Not Found\r\n" + length + "\r\nno"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Upgrade(ctx, client, Request{Host: "a.example", Path: "/", Subprotocol: "binary"})
		var status StatusError
		if !errors.As(err, &status) || status != 404 || ctx.Err() != nil {
			t.Errorf("%q: got %v, and %v of its time", length, err, ctx.Err())
		}
	}
}
