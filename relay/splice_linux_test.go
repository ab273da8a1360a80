package relay

import (
	"context"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// "io.Copy between two TCPConns keeps a pipe per direction while it waits";
// this must not.
func TestIdleDirectionsHoldNoDescriptors(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	const pairs = 50
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	before := count()
	for range pairs {
		client, left := pair(t)
		right, server := pair(t)
		running.Go(func() { Run(ctx, Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, 0) })
		// Both directions have moved something, and wait again.
		client.Write([]byte("x"))
		io.ReadFull(server, make([]byte, 1))
		server.Write([]byte("y"))
		io.ReadFull(client, make([]byte, 1))
	}
	// The last read may be ahead of the relay's going back to wait, and what
	// the pool has forgotten is closed by a collection.
	extra := 0
	for range 100 {
		runtime.GC()
		if extra = count() - before - 4*pairs; extra <= 8 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if extra > 8 {
		t.Errorf("%d descriptors beside the sockets of %d idle pairs", extra, pairs)
	}
	cancel()
	running.Wait()
}
