package relay

import (
	"net"
	"testing"
)

// A connection that is closed again leaves the address alone, which another connection may have
// by then.
func TestAConnectionThatIsClosedAgainKeepsTheNextOnesAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := new(Relay)
	conn, err := r.noting(new(net.Dialer).DialContext)(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	local := conn.LocalAddr()
	if _, found, _ := r.own.find(local); !found {
		t.Error("an open connection is not known")
	}
	conn.Close()
	if _, found, _ := r.own.find(local); found {
		t.Error("a closed connection is known")
	}
	r.own.add(local, "the next connection")
	conn.Close()
	if _, found, _ := r.own.find(local); !found {
		t.Error("the next connection with the address is not known")
	}
}
