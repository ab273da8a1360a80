package httpconn

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
)

// respond returns what a POST is answered by a server whose response is text, and behind which
// the connection stays open if it is not to be closed.
func respond(t *testing.T, text string, closes bool) error {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer loopback.Serve(ln, func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, text)
		if !closes {
			io.Copy(io.Discard, conn)
		}
	})()
	c, err := NewClient("http://"+ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Send(ctx, make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	_, err = c.Receive(ctx)
	return err
}

// A response that announces the longest body there is fails its POST, and nothing else.
func TestTheLongestLengthOfAResponse(t *testing.T) {
	err := respond(t, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nshort", true)
	var failed *PostError
	if !errors.As(err, &failed) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// A transport error is the status: a body that does not end holds it up for a moment, and
// not until the POST's time is over.
func TestATransportErrorDoesNotWaitForItsBody(t *testing.T) {
	for name, head := range map[string]string{
		"length": "Content-Length: 4\r\n\r\n",
		"chunks": "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := respond(t, "HTTP/1.1 404 Not Found\r\n"+head, false)
			var code *frame.TransportError
			if !errors.As(err, &code) || code.Code != 404 {
				t.Error(err)
			}
		})
	}
}

// A response that ends HTTP on the connection has no packet, and is no empty one.
func TestASwitchOfProtocolsIsNoEmptyResponse(t *testing.T) {
	for _, head := range []string{"\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"} {
		err := respond(t, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n"+head, false)
		var failed *PostError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), "101") || len(failed.Packet) != 64 {
			t.Errorf("%q: %v", head, err)
		}
	}
}
