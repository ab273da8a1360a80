package proxy

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// An idle session takes little heap: no goroutine, buffer or cipher, and nothing that
// only its handshake has needed. The bound includes both ends of its connections, which
// are in this process and take 0.9 KiB.
func TestIdleSessionsTakeLittleHeap(t *testing.T) {
	const sessions, bound, answer = 300, 3000, 100
	var mu sync.Mutex
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
	}()
	keep := func(conn net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, conn)
	}
	dc := listen(t, "tcp", "127.0.0.1:0")
	defer dc.Close()
	go func() {
		for {
			conn, err := dc.Accept()
			if err != nil {
				return
			}
			keep(conn)
			conn.Write(make([]byte, answer))
		}
	}()
	p := newProxy(t, Config{DataCenters: allAt(dc.Addr())})
	p.relaying.Idle = time.Millisecond
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	address := ln.Addr()
	key := secretOf(t, mtwiretest.PaddedSecret).Key
	join := func() {
		conn, err := net.Dial(address.Network(), address.String())
		if err != nil {
			t.Fatal(err)
		}
		keep(conn)
		init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, DC: 2, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(init[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, answer)); err != nil {
			t.Fatal(err)
		}
	}
	heap := func() int {
		eventually(t, "no goroutine", noGoroutines)
		var m runtime.MemStats
		for range 3 { // pools and finalizers take more than one
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	for range 20 {
		join()
	}
	before := heap()
	for range sessions {
		join()
	}
	if each := (heap() - before) / sessions; each > bound {
		t.Errorf("%d bytes for each session, want at most %d", each, bound)
	} else {
		t.Logf("%d bytes for each session", each)
	}
}
