package web

import (
	"net"
	"runtime"
	"sync"
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
