package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// echoHost starts a fronting host that echoes. closeAll closes its connections of
// now.
func echoHost(t *testing.T) (address string, closeAll func()) {
	t.Helper()
	ln := listen(t, "tcp", "127.0.0.1:0")
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				io.Copy(conn, conn)
			})
		}
	})
	closeAll = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			conn.Close()
		}
		conns = nil
	}
	t.Cleanup(func() { ln.Close(); closeAll(); running.Wait() })
	return ln.Addr().String(), closeAll
}

// noFrontingGoroutines reports whether no session has a goroutine, with those for
// fronting hosts.
func noFrontingGoroutines() bool {
	return noGoroutines() && len(goroutinesIn("fronting.(*tunnel)"))+len(goroutinesIn("proxy.(*mirror)")) == 0
}

// connectTo connects n clients.
func connectTo(t *testing.T, address net.Addr, n int) (conns []*net.TCPConn) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		t.Cleanup(func() { conn.Close() })
		conns = append(conns, conn.(*net.TCPConn))
	}
	return conns
}

// sees sends bytes and expects them back from the fronting host.
func sees(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("%q, %v", got, err)
	}
}

// A client that is tunneled, or silent with its fronting host connected, has no
// goroutine while nothing happens. Whatever happens then is noticed.
func TestIdleUnauthenticatedClientsHaveNoGoroutine(t *testing.T) {
	front, closeAll := echoHost(t)
	dc, _ := dataCenter(t)
	p, address := startProxy(t, Config{
		Users:       onlyUser(t, mtwiretest.FakeTLSSecret),
		Fronts:      map[string]Front{"": {Address: front}},
		DataCenters: allAt(dc),
	})
	const request = "GET / HTTP/1.1\r\n\r\n"
	tunneled, silent := connectTo(t, address, 10), connectTo(t, address, 10)
	for _, conn := range tunneled {
		sees(t, conn, request)
	}
	waiting := func(n int) {
		t.Helper()
		eventually(t, "hosts are connected", func() bool { return p.fronted.Len() == n })
		eventually(t, "no goroutine", noFrontingGoroutines)
	}
	waiting(20)
	for _, conn := range tunneled {
		sees(t, conn, "more")
	}
	waiting(20)

	// One silent client authenticates, one is tunneled, one ends, one is reset, and
	// one is closed from outside.
	conn, err := mtwire.Client(short(t), silent[0], mtwire.Endpoint{Secret: secretOf(t, mtwiretest.FakeTLSSecret), DC: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn, 3)
	sees(t, silent[1], request)
	silent[2].CloseWrite()
	if got, err := io.ReadAll(silent[2]); err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
	silent[3].SetLinger(0)
	silent[3].Close()
	enough := errors.New("enough")
	p.each(func(s *session) {
		if s.socket.RemoteAddr().String() == silent[4].LocalAddr().String() {
			s.Close(enough)
		}
	})
	if _, err := io.ReadAll(silent[4]); err != nil {
		t.Error(err)
	}
	waiting(16)
	if s := p.Stats(); s.Open != 17 || s.Relaying != 1 || s.Authenticated != 1 {
		t.Errorf("%+v", s)
	}

	// The host's end ends all of its clients.
	closeAll()
	for _, conn := range append(tunneled, silent[5:]...) {
		if got, err := io.ReadAll(conn); err != nil || len(got) > 0 {
			t.Errorf("%q, %v", got, err)
		}
		conn.Close()
	}
	silent[1].Close()
	waiting(0)
	echo(t, conn, 3)
}

// Without a fronting host, silent clients have no goroutine either.
func TestSilentClientsHaveNoGoroutine(t *testing.T) {
	dc, _ := dataCenter(t)
	p, address := startProxy(t, Config{DataCenters: allAt(dc)})
	silent := connectTo(t, address, 10)
	eventually(t, "all are accepted", func() bool { return p.Stats().Open == 10 })
	eventually(t, "no goroutine", noFrontingGoroutines)
	for _, conn := range silent {
		c, err := mtwire.Client(short(t), conn, mtwire.Endpoint{Secret: secretOf(t, mtwiretest.PaddedSecret), DC: 2}, nil)
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c, 3)
	}
}
