package mtwire_test

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

// Accept does not read, so silent clients do not delay others.
func TestSilentClientsDoNotDelayOthers(t *testing.T) {
	address := startEcho(t, nil).String()
	for range 50 {
		silent, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	conn, err := mtwire.Dial(short(t), "tcp://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(short(t), encrypted(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Receive(short(t)); err != nil {
		t.Fatal(err)
	}
}

// Serve tries again when the system has no resources for another connection.
func TestServeRetriesAfterTemporaryErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS} {
		ln := &failing{fail: &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}}
		if err := mtwire.NewListener(ln, nil).Serve(context.Background(), nil); err != net.ErrClosed || ln.accepts != 3 {
			t.Errorf("%v: %v after %d accepts", errno, err, ln.accepts)
		}
	}
}

// failing is a listener that fails twice and is then closed.
type failing struct {
	net.Listener
	fail    error
	accepts int
}

func (f *failing) Accept() (net.Conn, error) {
	if f.accepts++; f.accepts < 3 {
		return nil, f.fail
	}
	return nil, net.ErrClosed
}

func (f *failing) Close() error { return nil }

// When Serve returns, all its goroutines have ended, however their connections ended.
func TestServeLeavesNoGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{HandshakeTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, echo) }()
	for i := range 40 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0:
			c.Close()
		case 1:
			c.Write(unhex("eeeeeeee2800"))
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		case 2:
			c.Write(make([]byte, 64))
			defer c.Close()
		case 3:
			defer c.Close()
		}
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
