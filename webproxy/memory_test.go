//go:build linux

package webproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// inUse returns the bytes of the heap and the stacks.
func inUse() uint64 {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// An idle stream takes 8 KiB at most, whatever its carrier is.
func TestAnIdleStreamIsSmall(t *testing.T) {
	for _, carrier := range []Carrier{HTTPS, HTTPSLanes} {
		h := newHandler(t, carrier, func(c *ServerConfig) { c.Limits.StreamsPerMinute = 1 << 20 })
		const sessions, streams = 40, 12
		before := inUse()
		for range sessions {
			token := h.session()
			for id := uint32(1); id <= streams; id++ {
				if carrier == HTTPS {
					h.up(token, int(id), batch(open(id)))
				} else {
					h.up(token, 1, batch(open(id)), headerLane, string(appendDecimal(id)))
				}
			}
		}
		if h.Stats().Streams != sessions*streams {
			t.Fatal(h.Stats())
		}
		each := int64(inUse()-before) / (sessions * streams)
		t.Logf("%v: %d bytes for a stream", carrier, each)
		if each > 8<<10 {
			t.Errorf("%v: an idle stream takes %d bytes", carrier, each)
		}
		runtime.KeepAlive(h)
	}
}

// An idle session, with its connection of HTTP/1.1 or HTTP/2 over TLS and a stream in
// it, takes 80 KiB at most: heap, and the stacks of up to three goroutines. Its
// clients are in another process.
func TestAnIdleSessionIsSmall(t *testing.T) {
	if os.Getenv("WEBPROXY_CLIENTS") != "" {
		t.Skip("this is the clients' process")
	}
	for _, carrier := range []Carrier{HTTPS, WebSocket} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/%v", carrier, http2), func(t *testing.T) {
				const sessions, limit = 150, 80 << 10
				if each := idleSession(t, carrier, http2, sessions, limit); each > limit {
					t.Errorf("an idle session takes %d bytes", each)
				}
			})
		}
	}
}

// idleSession returns the bytes for one of n idle sessions. It measures again while
// they are more than limit: clients close the connections that they do not use any
// more.
func idleSession(t *testing.T, carrier Carrier, http2 bool, n, limit int) (each int) {
	relay := newRelay(t, carrier, http2, func(c *ServerConfig) { c.Limits.PagesPerMinute, c.Limits.SessionsPerMinute = 1<<20, 1<<20 })
	before := inUse()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestIdleClients$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("WEBPROXY_CLIENTS=%d %s %v", n, relay.web.Listener.Addr(), http2))
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := relay.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the sessions to be idle", func() bool { return idleSessions(relay.Server) == n })
	for started := time.Now(); time.Since(started) < hangTime/5; time.Sleep(10 * time.Millisecond) {
		if each = int(inUse()-before) / n; each <= limit {
			break
		}
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d bytes for a session", each)
	return each
}

// idleSessions returns the number of sessions that have one request, which waits.
func idleSessions(s *Server) (n int) {
	s.mu.Lock()
	sessions := make([]*session, 0, len(s.sessions))
	for _, session := range s.sessions {
		sessions = append(sessions, session)
	}
	s.mu.Unlock()
	for _, session := range sessions {
		session.activity.Lock()
		if session.requests == 1 {
			n++
		}
		session.activity.Unlock()
	}
	return n
}

// TestIdleClients is the clients' process of the test above. It ends with its
// standard input.
func TestIdleClients(t *testing.T) {
	fields := strings.Fields(os.Getenv("WEBPROXY_CLIENTS"))
	if len(fields) != 3 {
		return
	}
	n, _ := strconv.Atoi(fields[0])
	link := Link{Host: testHost, Path: "some/path", Secret: mustSecret(t, countingHex)}
	config := remote(fields[1])
	config.CloseTimeout = time.Millisecond
	clients := make([]*Client, n)
	for i := range clients {
		client, err := Dial(t.Context(), link, config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		clients[i] = client
	}
	go func() {
		for {
			for _, client := range clients {
				client.http.CloseIdleConnections()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	bufio.NewReader(os.Stdin).ReadByte()
	os.Exit(0)
}

// remote returns a config that connects to the relay at an address of another
// process, whatever its certificate is.
func remote(address string) *DialConfig {
	return &DialConfig{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
}
