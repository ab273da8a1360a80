package web

import (
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return nil }

// Close does not wait for connections over loopback that send nothing, and later ones are
// closed.
func TestCloseDoesNotWaitForSilentLocalConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, err := New(Config{Host: "proxy.example.com", Site: newSite(t, ""), Log: discardLog})
		if err != nil {
			t.Fatal(err)
		}
		ln := make(pipes)
		go server.ServeLocal(ln)
		connect := func() net.Conn {
			ours, theirs := net.Pipe()
			ln <- theirs
			return ours
		}
		silent := connect()
		synctest.Wait()
		start := time.Now()
		server.Close()
		if took := time.Since(start); took > 0 {
			t.Errorf("Close took %v", took)
		}
		for _, conn := range []net.Conn{silent, connect()} {
			if _, err := conn.Read(make([]byte, 1)); err == nil || time.Since(start) > 0 {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		close(ln)
	})
}

// exhausted is a listener without a descriptor for the first connection.
type exhausted struct {
	pipes
	calls atomic.Int32
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.calls.Add(1) == 1 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.pipes.Accept()
}

// The site is a fronting host again after a moment without descriptors.
func TestTheLocalSiteOutlivesAWantOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, err := New(Config{Host: "proxy.example.com", Site: newSite(t, ""), Log: discardLog})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		ln := &exhausted{pipes: make(pipes)}
		go server.ServeLocal(ln)
		defer close(ln.pipes)
		ours, theirs := net.Pipe()
		defer ours.Close()
		select {
		case ln.pipes <- theirs:
		case <-time.After(time.Minute):
			t.Error("no connection is accepted")
		}
	})
}

// Close ends a server that starts at the same time: nothing goes on afterwards, and the race
// detector finds nothing.
func TestAServerClosesWhileItStarts(t *testing.T) {
	for range 300 {
		server, err := New(Config{Host: "proxy.example.com", Site: newSite(t, ""), Log: discardLog})
		if err != nil {
			t.Fatal(err)
		}
		var starting sync.WaitGroup
		starting.Go(server.Start)
		runtime.Gosched()
		server.Close()
		starting.Wait()
		server.Close()
	}
}
