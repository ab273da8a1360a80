package relay_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// rawServer accepts connections that serve handles, until the test ends. It returns when
// they have ended.
func rawServer(t *testing.T, serve func(conn net.Conn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running []chan bool
	accepted := make(chan bool)
	go func() {
		defer close(accepted)
		for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
			done := make(chan bool)
			running = append(running, done)
			go func() {
				defer close(done)
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				serve(conn)
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-accepted
		for _, done := range running {
			<-done
		}
	})
	return ln.Addr().String()
}

// forever writes text again and again until the peer is gone.
func forever(conn net.Conn, text string) {
	text = strings.Repeat(text, 1+4096/len(text))
	for err := error(nil); err == nil; {
		_, err = io.WriteString(conn, text)
	}
}

// upgraded answers the request for a WebSocket, and then does something else than the
// protocol.
func upgraded(then func(conn net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
		then(conn)
	}
}

// frames are those that a WebSocket may not get, behind which the connection stays open.
func frames(text string) func(net.Conn) {
	return upgraded(func(conn net.Conn) {
		io.WriteString(conn, text)
		io.Copy(io.Discard, conn)
	})
}

const longControl = "\x89\x7e\x00\x7e"

// hostile are servers by the transport of their endpoint.
var hostile = map[string]map[string]func(conn net.Conn){
	"ws://HOST:PORT/apiws": {
		"a head byte by byte": func(conn net.Conn) {
			for _, err := io.WriteString(conn, "H"); err == nil; _, err = io.WriteString(conn, "x") {
				time.Sleep(10 * time.Millisecond)
			}
		},
		"endless fields":       func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 101 S\r\n"); forever(conn, "A: b\r\n") },
		"an endless field":     func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 101 S\r\nA: "); forever(conn, "b") },
		"endless responses":    func(conn net.Conn) { forever(conn, "HTTP/1.1 103 Early Hints\r\n\r\n") },
		"a redirect to itself": func(conn net.Conn) { forever(conn, "HTTP/1.1 302 Found\r\nLocation: /apiws\r\n\r\n") },
		"another key": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
			io.Copy(io.Discard, conn)
		},
		"a masked frame":           frames("\x82\x81abcde"),
		"a reserved bit":           frames("\xa2\x01a"),
		"a compressed frame":       frames("\xc2\x01a"),
		"a text message":           frames("\x81\x01a"),
		"an unknown opcode":        frames("\x83\x01a"),
		"a long ping":              frames(longControl + strings.Repeat("a", 126)),
		"a ping in parts":          frames("\x09\x01a\x80\x01a"),
		"a negative length":        frames("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"),
		"nothing to continue":      frames("\x80\x01a"),
		"a close frame of a byte":  frames("\x88\x01\x03"),
		"a close code out of use":  frames("\x88\x02\x00\x01"),
		"a close code of an error": frames("\x88\x02\x03\xf3"),
		"endless pings":            upgraded(func(conn net.Conn) { forever(conn, "\x89\x04ping") }),
		"endless pongs":            upgraded(func(conn net.Conn) { forever(conn, "\x8a\x04pong") }),
		"endless empty frames":     upgraded(func(conn net.Conn) { forever(conn, "\x02\x00\x80\x00") }),
		"an endless message":       upgraded(func(conn net.Conn) { io.WriteString(conn, "\x02\x01a"); forever(conn, "\x00\x01a") }),
	},
	"http://HOST:PORT/api": {
		"endless fields":    func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\n"); forever(conn, "A: b\r\n") },
		"endless responses": func(conn net.Conn) { forever(conn, "HTTP/1.1 103 Early Hints\r\n\r\n") },
		"an endless body":   func(conn net.Conn) { io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\n"); forever(conn, "body") },
		"endless chunks": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			forever(conn, "4\r\nbody\r\n")
		},
		"a length of exabytes": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n")
			io.Copy(io.Discard, conn)
		},
		"a body that never comes": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n")
			io.Copy(io.Discard, conn)
		},
	},
	"tcp://HOST:PORT?protocol=padded": {
		"a long packet":   func(conn net.Conn) { io.WriteString(conn, "\xff\xff\xff\x7f"); forever(conn, "rest") },
		"an empty packet": func(conn net.Conn) { forever(conn, "\x00") },
		"endless zeros":   func(conn net.Conn) { forever(conn, "\x04\x00\x00\x00\x00\x00\x00\x00") },
		"half a packet":   func(conn net.Conn) { io.WriteString(conn, "\x00\x00\x01\x00half"); io.Copy(io.Discard, conn) },
	},
	"tcp://HOST:PORT?protocol=full": {
		"a wrong checksum": func(conn net.Conn) { forever(conn, "\x10\x00\x00\x00\x00\x00\x00\x00payl0000") },
		"a wrong number":   func(conn net.Conn) { forever(conn, "\x10\x00\x00\x00\x01\x00\x00\x00payl0000") },
	},
	"tg://proxy?server=HOST&port=PORT&secret=" + secrets[2]: {
		"another TLS server": func(conn net.Conn) { forever(conn, "\x15\x03\x03\x00\x02\x02\x28") },
		"endless records":    func(conn net.Conn) { forever(conn, "\x16\x03\x03\x40\x00"+strings.Repeat("x", 0x4000)) },
	},
}

// A hostile server costs its client the time for an answer, and neither memory nor other
// clients: the next server gets the packets.
func TestHostileServersAreReplaced(t *testing.T) {
	log.SetOutput(io.Discard) // package net/http writes there what comes unasked
	defer log.SetOutput(os.Stderr)
	good := listen(t, nil, serve)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var running sync.WaitGroup
	for transport, servers := range hostile {
		for name, handle := range servers {
			bad := rawServer(t, handle)
			address, r := start(t, relay.Config{
				To:            []mtwire.Endpoint{endpoint(t, transport, bad), endpoint(t, "tcp://HOST:PORT", good)},
				AnswerTimeout: 200 * time.Millisecond,
			}, nil)
			running.Go(func() { askOnce(t, transport+", "+name, address, r) })
		}
	}
	running.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
}

// askOnce has a client answered, and waits for the end of its connection at the relay.
func askOnce(t *testing.T, name, address string, r *relay.Relay) {
	client, err := mtwire.Dial(t.Context(), "ws://"+address+"/apiws", nil)
	if err != nil {
		t.Error(err)
		return
	}
	if !answers(t, client) {
		t.Errorf("%s: the next server is not used", name)
	}
	client.Close()
	for r.Stats().Served+r.Stats().Failed == 0 {
		time.Sleep(time.Millisecond)
	}
}

// hostileClients are what clients send, and whether the relay ends their connection.
var hostileClients = map[string]struct {
	text  string
	flood string // behind text, without reading
}{
	"endless fields":       {"GET /apiws HTTP/1.1\r\n", "A: b\r\n"},
	"an endless line":      {"GET /", "apiws"},
	"a masked reserved":    {webSocketRequest + "\xc2\x81abcde", ""},
	"a frame without mask": {webSocketRequest + "\x82\x01a", ""},
	"a long ping":          {webSocketRequest + "\x89\xfe\x00\x7eabcd" + strings.Repeat("a", 126), ""},
	"a negative length":    {webSocketRequest + "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffabcd", ""},
	"a close code":         {webSocketRequest + "\x88\x82\x00\x00\x00\x00\x00\x01", ""},
	"endless pings":        {webSocketRequest, "\x89\x84\x00\x00\x00\x00ping"},
	"endless empty frames": {webSocketRequest, "\x02\x80\x00\x00\x00\x00\x80\x80\x00\x00\x00\x00"},
	"endless requests":     {"", "POST /api HTTP/1.1\r\nContent-Length: 0\r\n\r\n"},
	"endless chunks":       {"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nbody\r\n"},
	"a long packet":        {"\xee\xee\xee\xee\xff\xff\xff\x7f", ""},
	"endless messages":     {"\xef", "\x1a" + string(message(echo, 0))},
}

const webSocketRequest = "GET /apiws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"

// A hostile client that reads nothing, in each of the ways in which one may be, delays no
// other, and its connection ends when it does.
func TestHostileClientsDelayNoOthers(t *testing.T) {
	address, r := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve))}}, nil)
	var conns []net.Conn
	for _, c := range hostileClients {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		go func() {
			io.WriteString(conn, c.text)
			if c.flood != "" {
				forever(conn, c.flood)
			}
		}()
	}
	for range 6 {
		client, err := mtwire.Dial(t.Context(), "tcp://"+address+"?protocol=abridged", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if !answers(t, client) {
			t.Error("a client gets no answer")
		}
	}
	for _, conn := range conns {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	for r.Stats().Unauthenticated > 6 { // the others
		time.Sleep(time.Millisecond)
	}
}

// What is no WebSocket and no packet is refused while the client waits.
func TestHostileClientsAreEnded(t *testing.T) {
	address, _ := start(t, relay.Config{To: []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve))}}, nil)
	for name, c := range hostileClients {
		if c.flood != "" {
			continue
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, c.text)
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%s: the connection stays open", name)
			}
		}
		conn.Close()
	}
}
