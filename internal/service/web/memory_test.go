//go:build linux && !race

package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

var idleSessions = flag.Int("sessions", 150, "idle sessions of TestAnIdleSessionIsSmall")

// idleLimit is the memory of an idle session: heap and stacks. What the process takes
// besides is divided by the number of sessions.
func idleLimit(sessions int) int { return 40<<10 + 1<<20/sessions }

// socket is a connection from a listener of the proxy.
type socket struct{ net.Conn }

func (socket) Authenticated() bool { return false }

// An idle session takes 40 KiB at most, with its connection over TLS and a stream in it.
// Its clients are in another process. With -args -sessions 10000 there are that many.
func TestAnIdleSessionIsSmall(t *testing.T) {
	for _, c := range []struct {
		carrier webproxy.Carrier
		http2   bool
	}{{webproxy.HTTPS, true}, {webproxy.HTTPS, false}, {webproxy.WebSocket, true}} {
		t.Run(fmt.Sprintf("%v/%v", c.carrier, c.http2), func(t *testing.T) { measureIdle(t, c.carrier, c.http2, *idleSessions) })
	}
}

const idleSecret = "000102030405060708090a0b0c0d0e0f"

// idleServer starts a server with one user, and returns its address.
func idleServer(t *testing.T, carrier webproxy.Carrier, http2 bool) (*Server, string) {
	t.Helper()
	certificate, _, err := loopback.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := mtproxy.ParseSecret(idleSecret)
	if err != nil {
		t.Fatal(err)
	}
	site, err := NewSite("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{
		Host: "proxy.example.com", Site: site, Log: slog.New(slog.DiscardHandler), Authenticated: func(netip.Addr) {},
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate.Certificates[0], nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetUsers([]webproxy.User{{Name: "u", Secret: secret, Carrier: carrier}}); err != nil {
		t.Fatal(err)
	}
	if !http2 {
		s.current.Load().tls.NextProtos = []string{"http/1.1"}
	}
	// Connections without a session's poll or WebSocket end soon.
	s.http.IdleTimeout = 300 * time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.Serve(socket{conn})
		}
	}()
	return s, ln.Addr().String()
}

// inUse returns the bytes of the heap and the stacks.
func inUse() (heap, stacks int) {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), int(m.StackInuse)
}

func measureIdle(t *testing.T, carrier webproxy.Carrier, http2 bool, n int) {
	s, address := idleServer(t, carrier, http2)
	heapBefore, stacksBefore := inUse()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestIdleClients$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("WEB_CLIENTS=%d %s", n, address))
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	streams := make([]net.Conn, n)
	for i := range streams {
		if streams[i], err = s.current.Load().relay.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	var heap, stacks int
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
		heap, stacks = inUse()
		if (heap+stacks-heapBefore-stacksBefore)/n <= idleLimit(n) {
			break
		}
	}
	each := (heap + stacks - heapBefore - stacksBefore) / n
	t.Logf("%d bytes for a session: %d of heap, %d of stacks; %.1f goroutines", each, (heap-heapBefore)/n, (stacks-stacksBefore)/n, float64(runtime.NumGoroutine())/float64(n))
	if each > idleLimit(n) {
		t.Errorf("an idle session takes %d bytes", each)
	}
	stdin.Close()
	cmd.Wait()
	runtime.KeepAlive(streams)
}

// TestIdleClients is the process of the clients of the test above. It ends with its
// standard input.
func TestIdleClients(t *testing.T) {
	var n int
	var address string
	if _, err := fmt.Sscan(os.Getenv("WEB_CLIENTS"), &n, &address); err != nil {
		return
	}
	secret, err := mtproxy.ParseSecret(idleSecret)
	if err != nil {
		t.Fatal(err)
	}
	link := webproxy.Link{Host: "proxy.example.com", Secret: secret}
	var dialling sync.WaitGroup
	slots := make(chan struct{}, 8)
	for range n {
		slots <- struct{}{}
		dialling.Go(func() {
			defer func() { <-slots }()
			dialIdle(t, link, address)
		})
	}
	dialling.Wait()
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadByte()
	os.Exit(0)
}

// dialIdle makes a session with one stream.
func dialIdle(t *testing.T, link webproxy.Link, address string) {
	client, err := webproxy.Dial(t.Context(), link, &webproxy.DialConfig{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	})
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := client.Open(t.Context()); err != nil {
		t.Error(err)
	}
}
