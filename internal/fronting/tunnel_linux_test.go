package fronting

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// A host that has closed its connection answers further bytes with a reset. The
// tunnel passes that on at once.
func TestResetAfterTheHostsEndIsPassedOn(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "goodbye")
	})}}})
	client, done := tunneled(t, p)
	expect(t, client, "goodbye")
	expectEnd(t, client)
	send(t, client, "too late")
	if got := <-done; got.err == nil {
		t.Errorf("%+v", got)
	}
	if _, err := client.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the client got %v, want a reset", err)
	}
}
