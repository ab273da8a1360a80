package proxy

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Each connection counts once as unauthenticated and once as not searched for,
// also one that is searched for as a FakeTLS hello and as an init payload. A
// client that sends nothing is not counted.
func TestUnauthenticatedClientsAreCountedOnce(t *testing.T) {
	noise := make([]byte, 1000)
	for i := range noise {
		noise[i] = byte(i*i + 7)
	}
	inBubble(t, Config{Users: numberedUsers(0, 100, mtproxy.Plain, "")}, nil, func(t *testing.T, b *bubble) {
		visit := func(first []byte) {
			conn := b.connect()
			conn.Write(first)
			synctest.Wait()
			conn.Close()
			time.Sleep(5 * time.Second) // a search waits for two seconds
			synctest.Wait()
		}
		visit(nil)
		if s := b.Stats(); s.Accepted != 1 || s.Unauthenticated != 0 {
			t.Errorf("after nothing: %+v", s)
		}
		visit(noise)
		visit(helloOf(t, [16]byte{}, "a.example"))
		if s := b.Stats(); s.Accepted != 3 || s.Unauthenticated != 2 || s.SearchesSkipped != 0 || s.Authenticated != 0 {
			t.Errorf("within the budget: %+v", s)
		}
		spendBudget(t, b.Proxy)
		visit(noise)
		visit(helloOf(t, [16]byte{}, "a.example"))
		if s := b.Stats(); s.Unauthenticated != 4 || s.SearchesSkipped != 2 {
			t.Errorf("beyond it: %+v", s)
		}
	})
}

// Bytes count while they move, and never go backwards. When all sessions have
// ended, they are the sum of the reports.
func TestBytesCountWhileTheyMove(t *testing.T) {
	dc, _ := dataCenter(t)
	host, visits := frontingHost(t)
	ended := &reports{}
	p, address := startProxy(t, Config{
		DataCenters: allAt(dc), Fronts: map[string]Front{"": {Address: host}}, Traces: []*Trace{ended.trace()},
	})
	done := make(chan struct{})
	var watcher, clients sync.WaitGroup
	watcher.Go(func() {
		for last := (Stats{}); ; {
			s := p.Stats()
			if s.Up < last.Up || s.Down < last.Down || s.Accepted < last.Accepted {
				t.Errorf("%+v after %+v", s, last)
			}
			last = s
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret} {
		clients.Go(func() {
			for range 10 {
				conn := join(t, address, "secret="+secret)
				echo(t, conn, 10000)
				conn.Close()
			}
		})
	}
	clients.Wait()
	eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
	before := p.Stats()
	conn := join(t, address, "secret="+mtwiretest.FakeTLSSecret)
	for i := range int64(5) {
		echo(t, conn, 1000)
		// The client may have the answer before its bytes are counted.
		eventually(t, "bytes of the open session", func() bool {
			s := p.Stats()
			return s.Up-before.Up >= (i+1)*16000 && s.Down-before.Down >= (i+1)*16000
		})
	}
	conn.Close()
	fronted(t, address, visits, initOf(t, keyOf(0), mtwire.Abridged))
	eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
	close(done)
	watcher.Wait()
	var up, down int64
	for _, r := range ended.wait(t, 32) {
		up, down = up+r.Up, down+r.Down
	}
	if s := p.Stats(); s.Up != up || s.Down != down || s.Accepted != 32 || s.Authenticated != 31 || s.Unauthenticated != 1 {
		t.Errorf("%+v, and the reports have %d and %d", s, up, down)
	}
}
