package splice

import (
	"io"
	"net"
	"testing"
	"time"
)

// Await calls ready once for bytes, the end of the stream or a reset, also if they
// have come before. It takes nothing from the connection.
func TestAwaitCallsReadyOnce(t *testing.T) {
	poller := startPoller(t)
	for name, act := range map[string]func(peer *net.TCPConn){
		"bytes":             func(peer *net.TCPConn) { peer.Write([]byte("x")) },
		"end of the stream": func(peer *net.TCPConn) { peer.CloseWrite() },
		"reset":             func(peer *net.TCPConn) { abort(peer) },
	} {
		for _, late := range []bool{false, true} {
			peer, conn := pair(t)
			if late {
				act(peer)
				time.Sleep(10 * time.Millisecond)
			}
			ready := make(chan struct{}, 10)
			stop, ok := poller.Await(conn, func() { ready <- struct{}{} })
			if !ok {
				t.Fatal("cannot wait")
			}
			if !late {
				select {
				case <-ready:
					t.Errorf("%s: ready before", name)
				case <-time.After(10 * time.Millisecond):
				}
				act(peer)
			}
			select {
			case <-ready:
			case <-time.After(patience):
				t.Fatalf("%s: not ready", name)
			}
			if name == "bytes" {
				peer.Write([]byte("y")) // another event
				if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(10 * time.Millisecond)
			if len(ready) > 0 {
				t.Errorf("%s: ready again", name)
			}
			stop()
		}
	}
	if n := poller.waiters(); n > 0 {
		t.Errorf("%d waiters are left", n)
	}
}

// After stop, ready is not called, and the connection can be waited for again and be
// parked.
func TestStoppedAwaitLeavesTheConnectionFree(t *testing.T) {
	poller := startPoller(t)
	client, left := pair(t)
	right, server := pair(t)
	for range 3 {
		stop, ok := poller.Await(left, func() { t.Error("ready after stop") })
		if !ok {
			t.Fatal("cannot wait")
		}
		if _, again := poller.Await(left, func() {}); again {
			t.Error("two waits for one connection")
		}
		stop()
		stop()
	}
	ended := make(chan [2]Result, 1)
	p := Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: time.Millisecond},
		func(up, down Result) { ended <- [2]Result{up, down} })
	client.Write([]byte("x"))
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "parked, without a goroutine", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.up.parked && p.down.parked && runningDirections() == 0
	})
	client.CloseWrite()
	server.CloseWrite()
	if r := <-ended; r != [2]Result{{1, nil}, {}} {
		t.Errorf("%+v", r)
	}
}

// Without a poller, or a socket, there is no waiting.
func TestAwaitNeedsAPollerAndASocket(t *testing.T) {
	_, conn := pair(t)
	var none *Poller
	if _, ok := none.Await(conn, func() {}); ok {
		t.Error("waiting without a poller")
	}
	closed, other := pair(t)
	closed.Close()
	other.Close()
	poller := startPoller(t)
	for _, conn := range []net.Conn{plain{conn}, closed} {
		if _, ok := poller.Await(conn, func() {}); ok {
			t.Errorf("waiting for %T", conn)
		}
	}
	if n := poller.waiters(); n > 0 {
		t.Errorf("%d waiters are left", n)
	}
}

// AwaitEnd calls ready for the end of the peer's stream, if that is asked for, and for
// a reset, however many bytes are to be read before; never for bytes.
func TestAwaitEndIgnoresBytes(t *testing.T) {
	poller := startPoller(t)
	for name, c := range map[string]struct {
		act    func(peer *net.TCPConn)
		always bool // also without halfClose
	}{
		"end of the stream": {act: func(peer *net.TCPConn) { peer.CloseWrite() }},
		"reset":             {act: func(peer *net.TCPConn) { abort(peer) }, always: true},
	} {
		for _, halfClose := range []bool{false, true} {
			peer, conn := pair(t)
			ready := make(chan struct{}, 10)
			stop, ok := poller.AwaitEnd(conn, halfClose, func() { ready <- struct{}{} })
			if !ok {
				t.Fatal("cannot wait")
			}
			peer.Write([]byte("bytes"))
			select {
			case <-ready:
				t.Errorf("%s: ready for bytes", name)
			case <-time.After(10 * time.Millisecond):
			}
			c.act(peer)
			if c.always || halfClose {
				select {
				case <-ready:
				case <-time.After(patience):
					t.Errorf("%s: not ready, with halfClose %t", name, halfClose)
				}
			} else {
				select {
				case <-ready:
					t.Errorf("%s: ready, with halfClose %t", name, halfClose)
				case <-time.After(10 * time.Millisecond):
				}
			}
			stop()
		}
	}
	if n := poller.waiters(); n > 0 {
		t.Errorf("%d waiters are left", n)
	}
}
