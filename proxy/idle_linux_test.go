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

// A client that was moved on to another address is parked and woken like any other:
// its socket has been in the poller for another relay.
func TestIdleConnectionsThatWereMovedOnHaveNoGoroutines(t *testing.T) {
	dc, _ := dataCenter(t)
	closing := listen(t, "tcp", "127.0.0.1:0")
	t.Cleanup(func() { closing.Close() })
	go func() {
		for {
			conn, err := closing.Accept()
			if err != nil {
				return
			}
			go func() {
				conn.Read(make([]byte, 200))
				conn.Close()
			}()
		}
	}()
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		p := newProxy(t, Config{DataCenters: map[mtwire.DC][]string{0: {closing.Addr().String(), dc.String()}}})
		p.relaying.Idle = 10 * time.Millisecond
		ln := listen(t, "tcp", "127.0.0.1:0")
		serve(t, p, ln)
		conn := dial(t, ln.Addr(), "secret="+secret)
		if err := conn.Handshake(short(t)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the client is dialled, and idle", func() bool { return p.Stats().Relaying == 1 && noGoroutines() })
		for _, blocks := range []int{3, 10000, 3} {
			echo(t, conn, blocks)
			eventually(t, "no goroutine", noGoroutines)
		}
		if n := p.Stats().Moved; n != 1 {
			t.Errorf("%d clients were moved on", n)
		}
	}
}
