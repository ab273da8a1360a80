package proxy

import (
	"context"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// noGoroutines reports whether no session has a goroutine.
func noGoroutines() bool {
	return len(goroutinesIn("splice.(*direction)"))+len(goroutinesIn("proxy.(*session)")) == 0
}

// Idle connections have no goroutine, and go on working afterwards.
func TestIdleConnectionsHaveNoGoroutines(t *testing.T) {
	p := newEchoProxy(t)
	p.relaying.Idle = 10 * time.Millisecond
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	var conns []*mtwire.Conn
	for range 8 {
		for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
			conns = append(conns, join(t, ln.Addr(), "secret="+secret))
		}
	}
	for _, blocks := range []int{3, 10000, 3} {
		eventually(t, "no goroutine", noGoroutines)
		for _, conn := range conns {
			echo(t, conn, blocks)
		}
	}
	eventually(t, "no goroutine", noGoroutines)
	if n := p.Stats().Relaying; int(n) != len(conns) {
		t.Errorf("%d connections are relayed", n)
	}
	// Data centres may send at any time too: the parked direction wakes up.
	if err := conns[0].SendPacket(context.Background(), mtwire.Packet{Payload: payload(3)}); err != nil {
		t.Fatal(err)
	}
	if _, err := conns[0].Receive(short(t)); err != nil {
		t.Error(err)
	}
}

// A second listener keeps the Poller of the first: connections that are parked
// are woken.
func TestParkedConnectionsAreWokenAfterAnotherServe(t *testing.T) {
	p := newEchoProxy(t)
	p.relaying.Idle = 10 * time.Millisecond
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	first := join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	eventually(t, "no goroutine", noGoroutines)
	poller := p.relaying.Poller
	other := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, other)
	second := join(t, other.Addr(), "secret="+mtwiretest.FakeTLSSecret)
	eventually(t, "no goroutine", noGoroutines)
	if p.relaying.Poller != poller {
		t.Error("the Poller is another one")
	}
	echo(t, first, 3)
	echo(t, second, 3)
}
