package splice

import (
	"context"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A direction holds no pipe while it waits, unlike io.Copy between two TCPConns,
// and none while it is paused.
func TestIdleDirectionsHoldNoDescriptors(t *testing.T) {
	for name, delay := range map[string]func(int) time.Duration{
		"waiting": nil,
		"paused":  func(int) time.Duration { return time.Hour },
	} {
		t.Run(name, func(t *testing.T) { testNoDescriptors(t, delay) })
	}
}

func testNoDescriptors(t *testing.T, delay func(int) time.Duration) {
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
		running.Go(func() {
			Run(ctx, Flow{Dst: right, Src: left, Delay: delay}, Flow{Dst: left, Src: right, Delay: delay}, 0)
		})
		// Both directions move a byte, and then wait or pause.
		client.Write([]byte("x"))
		io.ReadFull(server, make([]byte, 1))
		server.Write([]byte("y"))
		io.ReadFull(client, make([]byte, 1))
	}
	// The last read may come before the direction waits. Pipes that the
	// pool has dropped are closed by a garbage collection.
	extra := 0
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		if extra = count() - before - 4*pairs; extra <= 8 {
			break
		}
	}
	if extra > 8 {
		t.Errorf("%d descriptors beside the sockets of %d idle pairs", extra, pairs)
	}
	cancel()
	running.Wait()
}

// When there are no descriptors for a pipe, the bytes are copied.
func TestBytesMoveWithoutDescriptors(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, 0)
	}()
	pass := func(text string) {
		if _, err := client.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		server.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(server, got); err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	pass("with a pipe")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few := old
	few.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	for range 3 {
		runtime.GC() // the pool drops its pipes
		pass("without one")
	}
	cancel()
	<-done
}
