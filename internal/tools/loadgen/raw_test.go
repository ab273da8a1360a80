package loadgen

import (
	"context"
	"io"
	"net"
	"testing"
)

// Each direction ends by itself, and no byte before its end is lost.
func TestRawRelayPassesHalfCloses(t *testing.T) {
	dc := serveEach(t, func(conn net.Conn) {
		question, _ := io.ReadAll(conn)
		conn.Write(append(question, " to you"...))
	})
	ln := listen(t)
	run(t, func(ctx context.Context) error { return ServeRaw(ctx, ln, dc.String()) })
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "the same")
	conn.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(conn); string(answer) != "the same to you" || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
}
