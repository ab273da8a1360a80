package web

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/proxyprotocol"
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

// far is a connection from another address of the machine.
type far struct{ net.Conn }

func (far) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// Programs of the machine that open connections over loopback, and send nothing, part of a header,
// or all of it, leave room for those of the proxy, and do not keep one that comes later out.
func TestLocalConnectionsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, err := New(Config{Host: "proxy.example.com", Site: newSite(t, ""), Log: discardLog, MaxLocal: 8})
		if err != nil {
			t.Fatal(err)
		}
		ln := make(pipes)
		go server.ServeLocal(ln)
		defer close(ln)
		defer server.Close()
		var open atomic.Int32
		connect := func(first []byte) *atomic.Bool {
			ours, theirs := net.Pipe()
			ln <- far{theirs}
			var over atomic.Bool
			open.Add(1)
			go func() {
				ours.Write(first)
				ours.Read(make([]byte, 1))
				ours.Close()
				over.Store(true)
				open.Add(-1)
			}()
			synctest.Wait()
			return &over
		}
		header := func(client string) []byte {
			source := netip.AddrPortFrom(netip.MustParseAddr(client), 1)
			return proxyprotocol.V2.Append(nil, source, source)
		}
		clients := []*atomic.Bool{connect(header("198.51.100.1"))}
		for range 10 {
			connect(nil)
			connect([]byte("PROXY"))
			connect(header("127.0.0.1"))
		}
		clients = append(clients, connect(header("203.0.113.1")))
		for _, over := range clients {
			if over.Load() {
				t.Error("a connection for a client makes room for others")
			}
		}
		if n := open.Load(); n > 8 || int(n) != server.local.Len() {
			t.Errorf("%d connections are open, and %d are counted", n, server.local.Len())
		}
		time.Sleep(headerTime) // for a header, and then for a handshake
		time.Sleep(headerTime)
		synctest.Wait()
		if n := server.local.Len(); n != 0 || open.Load() != 0 {
			t.Errorf("%d connections are counted after their end", n)
		}
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
