package fronting

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// "A reset from the host becomes a reset to the client": also that with which
// the host's system answers what comes after the host has closed, at once.
func TestResetAfterTheHostsEndIsPassedOn(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{"a.example", serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "goodbye")
	})}}})
	client, done := tunneled(t, p)
	expect(t, client, "goodbye")
	expectEnd(t, client)
	send(t, client, "one thing more")
	if got := <-done; got.err == nil {
		t.Errorf("%+v", got)
	}
	if _, err := client.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the stranger got %v", err)
	}
}
