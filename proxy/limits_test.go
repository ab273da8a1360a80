package proxy

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/mtwiretest"
)

// A network's silent connections do not keep clients out: the oldest is closed in
// favour of a new one.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	p := newEchoProxy(t)
	p.pending.SetLimits(admission.Limits{10, 1000, 1000})
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	var silent []net.Conn
	for i := range 20 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
		eventually(t, "it is accepted", func() bool { return p.Stats().Accepted == int64(i)+1 && p.pending.Len() == min(i+1, 10) })
	}
	for i, conn := range silent[:10] {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("silent connection %d: %v", i, err)
		}
	}
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret)
	if n := p.pending.Len(); n != 9 {
		t.Errorf("%d are left of ten, of which one made room for clients", n)
	}
}

// If no connection is silent, one of an unauthenticated client that has sent
// something makes room: clients of two addresses would keep all others out
// otherwise.
func TestConnectionsThatHaveSentMakeRoom(t *testing.T) {
	p := newEchoProxy(t)
	p.pending.SetLimits(admission.Limits{10, 10, 10})
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	for i := range 10 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("hello"))
		eventually(t, "its bytes arrive", func() bool { return p.pending.Count(admission.Unanswered) == i+1 })
	}
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	join(t, ln.Addr(), "secret="+mtwiretest.FakeTLSSecret)
}
