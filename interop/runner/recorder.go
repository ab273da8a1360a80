package main

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// recorder is a TCP relay in front of a server. It records the length of the
// first TLS or FakeTLS ClientHello, and counts connections.
type recorder struct {
	ln      net.Listener
	target  string
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	hello int // the length, in bytes; 0 before the first hello
	count connections
}

// connections are the numbers of connections that clients have opened, and of those that
// neither side has ended.
type connections struct{ opened, open int }

// recordHeaderLength is the length of a TLS record's header, in bytes.
const recordHeaderLength = 5

// handshakePrefix is the type and the major version of a record with a hello. An
// init payload may begin with the first of the two bytes by chance.
var handshakePrefix = [2]byte{0x16, 0x03}

// startRecorder starts a recorder in front of the server at target.
func startRecorder(target string) (*recorder, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{ln: ln, target: target, conns: map[net.Conn]struct{}{}}
	r.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.relay(conn) })
		}
	})
	return r, nil
}

func (r *recorder) port() int { return r.ln.Addr().(*net.TCPAddr).Port }

// stop closes all connections and waits for their goroutines.
func (r *recorder) stop() {
	r.ln.Close()
	r.mu.Lock()
	for conn := range r.conns {
		conn.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.running.Wait()
}

// add has stop close conn. It returns false after stop.
func (r *recorder) add(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		return false
	}
	r.conns[conn] = struct{}{}
	return true
}

// remove closes conn, and undoes add.
func (r *recorder) remove(conn net.Conn) {
	conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}

// connections returns how many connections there were up to now.
func (r *recorder) connections() connections {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// counted counts a connection until end is called.
func (r *recorder) counted() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count.opened++
	r.count.open++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.count.open--
	}
}

func (r *recorder) relay(client net.Conn) {
	defer r.counted()()
	defer r.remove(client)
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer r.remove(server)
	if !r.add(client) || !r.add(server) {
		return
	}
	var pair sync.WaitGroup
	pair.Go(func() { copyOneWay(server, client, r.helloObserver()) })
	pair.Go(func() { copyOneWay(client, server, nil) })
	pair.Wait()
}

// copyOneWay copies from src to dst, and forwards a half-close. It passes all
// bytes to observe, if that is not nil.
func copyOneWay(dst, src net.Conn, observe func([]byte)) {
	b := make([]byte, 32<<10)
	for {
		n, err := src.Read(b)
		if n > 0 && observe != nil {
			observe(b[:n])
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

// helloObserver returns a function that records the length of the hello at the
// start of a client's bytes, which it gets in pieces of any length.
func (r *recorder) helloObserver() func([]byte) {
	var header []byte
	return func(b []byte) {
		if len(header) == recordHeaderLength {
			return
		}
		header = append(header, b[:min(len(b), recordHeaderLength-len(header))]...)
		if len(header) < recordHeaderLength || [2]byte(header) != handshakePrefix {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.hello == 0 {
			r.hello = recordHeaderLength + int(binary.BigEndian.Uint16(header[3:]))
		}
	}
}

// helloLength returns the length of the first hello with its record's header, in
// bytes, or 0.
func (r *recorder) helloLength() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hello
}
