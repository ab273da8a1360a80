package proxy

import (
	"context"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// "Idle connections have no goroutines and go on working afterwards."
func TestIdleConnectionsHaveNoGoroutines(t *testing.T) {
	p := unserved(t)
	p.relaying.Idle = 10 * time.Millisecond
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	var conns []*mtwire.Conn
	for range 8 {
		for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
			conns = append(conns, join(t, ln.Addr(), "secret="+secret))
		}
	}
	parked := func() bool {
		return len(ours("relay.(*direction)"))+len(ours("proxy.(*session)")) == 0
	}
	for _, blocks := range []int{3, 10000, 3} {
		eventually(t, "no goroutine", parked)
		for _, conn := range conns {
			echo(t, conn, blocks)
		}
	}
	eventually(t, "no goroutine", parked)
	if n := p.Stats().Carried; int(n) != len(conns) {
		t.Errorf("%d connections are carried", n)
	}
	// Data centres may speak at any time too: what is parked wakes up.
	if err := conns[0].SendPacket(context.Background(), mtwire.Packet{Payload: payload(3)}); err != nil {
		t.Fatal(err)
	}
	if _, err := conns[0].Receive(short(t)); err != nil {
		t.Error(err)
	}
}
