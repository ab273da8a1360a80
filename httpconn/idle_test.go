package httpconn

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

// closingServer answers one request on each connection, as if to keep it open, and
// closes it. It returns its URL.
func closingServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loopback.Serve(ln, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}))
	return "http://" + ln.Addr().String()
}

// Every packet is answered, although nearly every request meets a connection that
// ends, whichever side notices it first. Bodies of 200 kB do not fit into the socket's buffer at once, so that their
// writes fail too.
func TestClosingIdleConnectionsLoseNoPacket(t *testing.T) {
	for _, length := range []int{8, 200_000} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			client := newClient(t, closingServer(t), nil)
			for i := range 200 {
				packet := make([]byte, length)
				binary.BigEndian.PutUint32(packet, uint32(i))
				if err := client.Send(t.Context(), packet); err != nil {
					t.Fatal(err)
				}
				if got, err := client.Receive(t.Context()); err != nil || !bytes.Equal(got, packet) {
					t.Fatalf("packet %d: %d bytes, %v", i, len(got), err)
				}
			}
		})
	}
}

// A POST that cannot be repeated fails with its packet.
func TestPostErrorHasThePacket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + ln.Addr().String()
	ln.Close()
	truncated := handlerServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write(make([]byte, 8))
	}).URL
	for _, url := range []string{refused, truncated} {
		client := newClient(t, url, nil)
		sent := map[string]bool{"packet 1": true, "packet 2": true}
		for packet := range sent {
			if err := client.Send(t.Context(), []byte(packet)); err != nil {
				t.Fatal(err)
			}
		}
		for range len(sent) {
			_, err := client.Receive(t.Context())
			var failed *PostError
			if !errors.As(err, &failed) || !sent[string(failed.Packet)] {
				t.Fatalf("received %v, with %q", err, failed.Packet)
			}
			delete(sent, string(failed.Packet))
		}
	}
}
