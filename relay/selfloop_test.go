package relay

import (
	"net"
	"net/netip"
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
	pair := toServer(conn)
	if _, found := r.own.find(pair); !found {
		t.Error("an open connection is not known")
	}
	conn.Close()
	if _, found := r.own.find(pair); found {
		t.Error("a closed connection is known")
	}
	r.own.add(pair, "the next connection")
	conn.Close()
	if _, found := r.own.find(pair); !found {
		t.Error("the next connection with the address is not known")
	}
}

// A client on the relay's own machine may have the same port as a connection to a server,
// which leads to another address: it is no loop, and neither of two such connections hides
// the other.
func TestAClientWithThePortOfAConnectionToAServerIsNoLoop(t *testing.T) {
	at := netip.MustParseAddrPort
	toServer := addressPair{at("127.0.0.1:40000"), at("127.0.0.1:443")}
	another := addressPair{at("127.0.0.1:40000"), at("127.0.0.1:444")}
	client := addressPair{at("127.0.0.1:40000"), at("127.0.0.1:7443")}
	var own ownAddresses
	own.add(toServer, "one")
	own.add(another, "another")
	if _, found := own.find(client); found {
		t.Error("a client is taken for the relay")
	}
	own.remove(toServer)
	if server, found := own.find(another); !found || server != "another" {
		t.Error("a connection is forgotten with another one")
	}
}
