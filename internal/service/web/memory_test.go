//go:build linux && !race

package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

var idleSessions = flag.Int("sessions", 150, "idle sessions of TestAnIdleSessionIsSmall")

// idleLimit is the memory of an idle session: heap and stacks. What the process takes
// besides is divided by the number of sessions.
func idleLimit(carrier webproxy.Carrier, sessions int) int {
	limit := 40 << 10
	if carrier == webproxy.WebSocket {
		limit = 10 << 10
	}
	return limit + 1<<20/sessions
}

// socket is a connection from a listener of the proxy.
type socket struct{ net.Conn }

func (socket) Authenticated() bool { return false }
func (s socket) NetConn() net.Conn { return s.Conn }

// An idle session takes 40 KiB at most, with its connection over TLS and a stream in it, and
// over a WebSocket 10 KiB, also after an upload. Its clients are in another process. With -args -sessions 10000 there are that many.
func TestAnIdleSessionIsSmall(t *testing.T) {
	for _, c := range []struct {
		carrier webproxy.Carrier
		http2   bool
	}{{webproxy.HTTPS, true}, {webproxy.HTTPS, false}, {webproxy.WebSocket, true}} {
		t.Run(fmt.Sprintf("%v/%v", c.carrier, c.http2), func(t *testing.T) {
			limit := idleLimit(c.carrier, *idleSessions)
			if each := measureIdle(t, c.carrier, c.http2, *idleSessions, 1, limit); each > limit {
				t.Errorf("an idle session takes %d bytes", each)
			}
		})
	}
}

// An idle stream with a lane of its own is a poll of HTTP/2, or a WebSocket with its TLS. A poll
// takes what it does in package http, and 2 KiB at most, and a WebSocket 8 KiB at most with all
// that it has: see docs/web.md.
func TestAnIdleLaneIsSmall(t *testing.T) {
	const streams = 60
	sessions := max(*idleSessions/streams, 10)
	for _, c := range []struct {
		carrier webproxy.Carrier
		limit   int
	}{{webproxy.WebSocketLanes, 8 << 10}, {webproxy.HTTPSLanes, 10 << 10}} {
		t.Run(c.carrier.String(), func(t *testing.T) {
			if each := measureIdle(t, c.carrier, true, sessions, streams, c.limit*streams); each > c.limit*streams {
				t.Errorf("an idle stream takes %d bytes", each/streams)
			}
		})
	}
}

// What a TLS connection takes that has nothing but a goroutine which reads it: the least of a
// WebSocket that is not woken by a poller.
func BenchmarkAnIdleTLSConnection(b *testing.B) {
	s, _ := idleServer(b, webproxy.HTTPS, true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	const n = 1000
	heapBefore, stacksBefore := inUse()
	defer startClients(b, n, 0, 0, ln.Addr().String())()
	for range n {
		conn, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		over := tls.Server(conn, s.current.Load().tls)
		handshaken := make(chan error)
		go func() { handshaken <- over.Handshake() }() // in a stack of its own
		if err := <-handshaken; err != nil {
			b.Fatal(err)
		}
		netx.ShrinkTLS(over, 0)
		go over.Read(make([]byte, 1))
	}
	least := math.MaxInt
	for range 10 {
		time.Sleep(50 * time.Millisecond)
		heap, stacks := inUse()
		least = min(least, heap+stacks-heapBefore-stacksBefore)
	}
	for b.Loop() {
	}
	b.ReportMetric(float64(least)/n, "B/connection")
}

const idleSecret = "000102030405060708090a0b0c0d0e0f"

// idleServer starts a server with one user, and returns its address.
func idleServer(t testing.TB, carrier webproxy.Carrier, http2 bool) (*Server, string) {
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
	ln = netx.Sockets(ln) // as the proxy's
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

// settled returns inUse, once the connections of another test are gone.
func settled() (heap, stacks int) {
	heap, stacks = inUse()
	for unchanged := 0; unchanged < 5; time.Sleep(20 * time.Millisecond) {
		nowHeap, nowStacks := inUse()
		unchanged++
		if nowHeap+nowStacks < heap+stacks-16<<10 {
			unchanged = 0
		}
		heap, stacks = min(heap, nowHeap), min(stacks, nowStacks)
	}
	return heap, stacks
}

// startClients starts a process with n sessions of each streams, which upload so many bytes, or
// with n connections. The caller calls stop.
func startClients(t testing.TB, n, each, upload int, address string) (stop func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestIdleClients$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("WEB_CLIENTS=%d %d %d %s", n, each, upload, address))
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		stdin.Close()
		cmd.Wait()
	}
}

// measureIdle returns what each of n idle sessions takes, after it has come down to limit if
// it does so in a minute.
func measureIdle(t *testing.T, carrier webproxy.Carrier, http2 bool, n, each, limit int) int {
	s, address := idleServer(t, carrier, http2)
	heapBefore, stacksBefore := settled()
	upload := 0
	if carrier == webproxy.WebSocket || carrier == webproxy.WebSocketLanes {
		upload = idleUpload
	}
	stop := startClients(t, n, each, upload, address)
	streams := make([]net.Conn, n*each)
	for i := range streams {
		conn, err := s.current.Load().relay.Accept()
		if err == nil {
			_, err = io.CopyN(io.Discard, conn, int64(upload))
		}
		if err != nil {
			t.Fatal(err)
		}
		streams[i] = conn
	}
	var heap, stacks, unchanged int
	best := math.MaxInt
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(50 * time.Millisecond) {
		heap, stacks = inUse()
		// Stacks of another test may be left, and go meanwhile.
		heap, stacks = max(heap, heapBefore), max(stacks, stacksBefore)
		if now := (heap + stacks - heapBefore - stacksBefore) / n; now > limit || now < best-best/100 {
			best, unchanged = now, 0
		} else if unchanged++; unchanged == 5 {
			break
		}
	}
	total, all := heap+stacks-heapBefore-stacksBefore, n*each
	t.Logf("%d bytes for a session, %d for a stream: %d of heap, %d of stacks; %.1f goroutines", total/n, total/all,
		(heap-heapBefore)/all, (stacks-stacksBefore)/all, float64(runtime.NumGoroutine())/float64(all))
	if f, err := os.Create(os.Getenv("HEAP_PROFILE")); err == nil {
		pprof.Lookup("heap").WriteTo(f, 0)
		f.Close()
	}
	stop()
	runtime.KeepAlive(streams)
	return total / n
}

// TestIdleClients is the process of the clients of the test above. It ends with its
// standard input.
func TestIdleClients(t *testing.T) {
	var n, streams, upload int
	var address string
	if _, err := fmt.Sscan(os.Getenv("WEB_CLIENTS"), &n, &streams, &upload, &address); err != nil {
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
			dialIdle(t, link, address, streams, upload)
		})
	}
	dialling.Wait()
	bufio.NewReader(os.Stdin).ReadByte()
	os.Exit(0)
}

// idleConns are the connections without a session: otherwise the collector closes them.
var idleConns = make(chan net.Conn, 1<<16)

// idleUpload is how many bytes each stream of a WebSocket sends before it is idle: TLS has
// received its longest records then.
const idleUpload = 64 << 10

// dialIdle makes a session with streams, which upload so many bytes, or a connection if there are
// to be none.
func dialIdle(t *testing.T, link webproxy.Link, address string, streams, upload int) {
	if streams == 0 {
		conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: link.Host, InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		idleConns <- conn
		return
	}
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
	for range streams {
		conn, err := client.Open(t.Context())
		if err == nil && upload > 0 {
			_, err = conn.Write(make([]byte, upload))
		}
		if err != nil {
			t.Error(err)
		}
	}
}
