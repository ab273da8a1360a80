package splice

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

// blockingPair returns both ends of a socket pair that blocks.
func blockingPair(t *testing.T, domain, kind int) (a, b uintptr) {
	t.Helper()
	fds, err := unix.Socketpair(domain, kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return uintptr(fds[0]), uintptr(fds[1])
}

// No raw call waits, not even on a socket that blocks: the processor that it has could
// not run another goroutine, and garbage could not be collected. A call that waited
// would end this test at its time limit only.
func TestRawCallsDoNotWaitOnABlockingSocket(t *testing.T) {
	for name, kind := range map[string]int{"stream": unix.SOCK_STREAM, "seqpacket": unix.SOCK_SEQPACKET} {
		t.Run(name, func(t *testing.T) {
			a, b := blockingPair(t, unix.AF_UNIX, kind)
			buf := make([]byte, 1<<10)
			if _, errno := netx.RecvNow(a, buf); errno != unix.EAGAIN {
				t.Errorf("rawRead: %v", errno)
			}
			if _, errno := rawReadv(a, [][]byte{buf[:5], buf[5:]}); errno != unix.EAGAIN {
				t.Errorf("rawReadv: %v", errno)
			}
			sent := 0
			for sent < 64<<20 {
				n, errno := netx.SendNow(a, buf)
				if errno == unix.EAGAIN {
					break
				} else if errno != 0 {
					t.Fatal(errno)
				}
				sent += n
			}
			if sent == 0 || sent >= 64<<20 {
				t.Errorf("rawWrite: %d bytes", sent)
			}
			if n, errno := rawReadv(b, [][]byte{buf[:5], buf[5:]}); n != len(buf) || errno != 0 {
				t.Errorf("rawReadv: %d bytes, %v", n, errno)
			}
		})
	}
}

// A send to a connection whose peer has gone is an error, and no signal.
func TestRawWriteRaisesNoSignal(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	unix.Close(fds[1])
	if _, errno := netx.SendNow(uintptr(fds[0]), []byte("x")); errno != syscall.EPIPE || !isSocketError(errno) {
		t.Errorf("got %v, want EPIPE", errno)
	}
}

// makeBlocking makes a socket block, as a duplicate of its descriptor can.
func makeBlocking(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.SetNonblock(int(file.Fd()), false); err != nil {
		t.Fatal(err)
	}
}

// If a socket blocks, splice(2) is called in a way that the scheduler is told of, and
// the bytes still arrive in both directions.
func TestSocketsThatBlock(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	leftRaw, err := left.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	rightRaw, err := right.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if !canSpliceRaw(leftRaw, rightRaw) {
		t.Error("sockets of package net block")
	}
	makeBlocking(t, left)
	if canSpliceRaw(leftRaw, rightRaw) || canSpliceRaw(rightRaw, leftRaw) {
		t.Error("a socket that blocks is spliced without telling the scheduler")
	}
	makeBlocking(t, right)
	ended := make(chan Result, 1)
	go func() {
		_, down := Run(context.Background(), Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right, Transform: invert}, time.Minute)
		ended <- down
	}()
	question := make([]byte, 2<<20)
	rand.Read(question)
	for _, ends := range [][2]*net.TCPConn{{client, server}, {server, client}} {
		go func() {
			ends[0].Write(question)
			ends[0].CloseWrite()
		}()
		got, err := io.ReadAll(ends[1])
		if ends[0] == server {
			invert(got)
		}
		if err != nil || !bytes.Equal(got, question) {
			t.Fatalf("%d bytes arrived, %v", len(got), err)
		}
	}
	if down := <-ended; down.Err != nil || down.Bytes != int64(len(question)) {
		t.Errorf("%+v", down)
	}
}

// A direction that never waits lets other goroutines run, on one processor too.
func TestBulkYields(t *testing.T) {
	d := &direction{pair: &Pair{}}
	for range 4 * yieldBytes / (64 << 10) {
		before := d.turn
		d.moved(64 << 10)
		if d.turn >= yieldBytes || d.turn < before && d.turn != 0 {
			t.Fatalf("%d bytes after %d", d.turn, before)
		}
	}
	if d.turn != 0 || d.bytes.Load() != 4*yieldBytes {
		t.Errorf("turn %d, %d bytes", d.turn, d.bytes.Load())
	}
}
