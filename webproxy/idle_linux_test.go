package webproxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// readersOf returns how many goroutines read WebSockets of a relay.
func readersOf() int {
	b := make([]byte, 4<<20)
	return strings.Count(string(b[:runtime.Stack(b, true)]), "(*serverSocket).proceed(")
}

// An idle WebSocket has no goroutine, before its first bytes as after others: it takes what
// comes then, and notices the end of the stream, that of its session and that of the server.
func TestAnIdleWebSocketHasNoGoroutine(t *testing.T) {
	for _, carrier := range []Carrier{WebSocket, WebSocketLanes} {
		t.Run(carrier.String(), func(t *testing.T) {
			relay := newRelay(t, carrier, false, nil)
			client, other := relay.dial(t, nil), relay.dial(t, nil)
			idle := func(what string) {
				t.Helper()
				eventually(t, "no goroutine after "+what, func() bool { return readersOf() == 0 })
			}
			var conns, accepted []net.Conn
			for range 20 {
				conn, peer := pair(t, client, relay)
				conns, accepted = append(conns, conn), append(accepted, peer)
			}
			last, lastPeer := pair(t, other, relay)
			idle("OPEN")
			for i, conn := range conns {
				for _, n := range []int{1, 100_000, 1} {
					go conn.Write(make([]byte, n))
					if _, err := io.ReadFull(accepted[i], make([]byte, n)); err != nil {
						t.Fatal(err)
					}
				}
			}
			idle("messages")
			conns[0].Close()
			if _, err := accepted[0].Read(make([]byte, 1)); err != io.EOF {
				t.Error("the end of a stream:", err)
			}
			go client.Close()
			if _, err := accepted[1].Read(make([]byte, 1)); err == nil {
				t.Error("the session goes on")
			}
			idle("the session's end")
			go last.Write([]byte("x"))
			if _, err := lastPeer.Read(make([]byte, 1)); err != nil {
				t.Error("another session:", err)
			}
			idle("a message")
			relay.Server.Close()
			if _, err := last.Read(make([]byte, 1)); err == nil {
				t.Error("the server goes on")
			}
			idle("the server's end")
		})
	}
}

// A connection that is lost while its WebSocket is idle ends the stream, in order and not: the
// peer's end and a reset.
func TestAnIdleWebSocketNoticesItsEnd(t *testing.T) {
	for _, reset := range []bool{false, true} {
		relay := newRelay(t, WebSocketLanes, false, nil)
		client := relay.dial(t, nil)
		socket, err := net.Dial("tcp", relay.web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		over := tls.Client(socket, &tls.Config{InsecureSkipVerify: true, ServerName: testHost})
		fmt.Fprintf(over, "GET %s%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: %s%s.5\r\n\r\n", client.link.Base(), pathSocket, testHost, laneSubprotocol, client.token)
		message := batch(open(5), data(5, "abc"))
		over.Write(append([]byte{0x82, 0x80 | byte(len(message)), 0, 0, 0, 0}, message...)) // a mask of zeros
		stream, err := relay.Accept()
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "no goroutine", func() bool { return readersOf() == 0 })
		if reset {
			socket.(*net.TCPConn).SetLinger(0)
		}
		socket.Close()
		if b, err := io.ReadAll(stream); string(b) != "abc" || err != io.ErrUnexpectedEOF {
			t.Errorf("reset %v: %q, %v", reset, b, err)
		}
		relay.Server.Close()
	}
}

// What is not a socket has a goroutine, and works the same.
func TestAWebSocketWithoutADescriptorHasAGoroutine(t *testing.T) {
	s, err := NewServer(ServerConfig{Host: testHost})
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer b.Close()
	if s.watch(a, func() {}) != nil || s.poller != nil {
		t.Error("a pipe is watched")
	}
	s.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.DialTimeout("tcp", ln.Addr().String(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if s.watch(conn, func() {}) != nil || s.poller != nil {
		t.Error("a socket is watched after Close")
	}
}
