package main

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// tap is a relay in front of a server. It looks at how long the clients'
// hellos are, of TLS or FakeTLS.
type tap struct {
	ln     net.Listener
	target string
	wait   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	hello int // of the first client that sent one
}

const recordHeader = 5

// A hello's record begins with this. Two bytes, since an init payload may have
// the first one by chance.
var recordHandshake = [2]byte{0x16, 0x03}

// startTap starts a tap for the server at target.
func startTap(target string) (*tap, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{ln: ln, target: target, conns: map[net.Conn]struct{}{}}
	t.wait.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.wait.Go(func() { t.relay(conn) })
		}
	})
	return t, nil
}

func (t *tap) port() int { return t.ln.Addr().(*net.TCPAddr).Port }

// stop ends all connections, and waits for that.
func (t *tap) stop() {
	t.ln.Close()
	t.mu.Lock()
	for conn := range t.conns {
		conn.Close()
	}
	t.conns = nil
	t.mu.Unlock()
	t.wait.Wait()
}

// own says whether conn will be closed by stop; there may have been one.
func (t *tap) own(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns == nil {
		return false
	}
	t.conns[conn] = struct{}{}
	return true
}

func (t *tap) disown(conn net.Conn) {
	conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, conn)
}

func (t *tap) relay(client net.Conn) {
	defer t.disown(client)
	server, err := net.Dial("tcp", t.target)
	if err != nil {
		return
	}
	defer t.disown(server)
	if !t.own(client) || !t.own(server) {
		return
	}
	var pair sync.WaitGroup
	pair.Go(func() { move(server, client, t.look()) })
	pair.Go(func() { move(client, server, nil) })
	pair.Wait()
}

// move copies what src sends, and its end, and shows it to look.
func move(dst, src net.Conn, look func([]byte)) {
	b := make([]byte, 32<<10)
	for {
		n, err := src.Read(b)
		if n > 0 && look != nil {
			look(b[:n])
		}
		if _, failed := dst.Write(b[:n]); failed != nil || err != nil && err != io.EOF {
			dst.Close()
			src.Close()
			return
		}
		if err == io.EOF {
			dst.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// look returns a function that sees what a client sends, from the start.
func (t *tap) look() func([]byte) {
	var header []byte
	return func(b []byte) {
		if len(header) == recordHeader {
			return
		}
		header = append(header, b[:min(len(b), recordHeader-len(header))]...)
		if len(header) < recordHeader || [2]byte(header) != recordHandshake {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.hello == 0 {
			t.hello = recordHeader + int(binary.BigEndian.Uint16(header[3:]))
		}
	}
}

// helloLength is how long the first hello was, with its record's header.
func (t *tap) helloLength() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hello
}
