package faults_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// middlebox passes TCP streams on, and does to them what networks do, as far as
// that can be done without packets: what is lost there arrives late here.
type middlebox struct {
	to      string
	conns   connSet // those from the client; each ends its other half
	running sync.WaitGroup

	delay  atomic.Int64 // of every piece, in nanoseconds
	stalls atomic.Int64 // one piece in so many is kept back; 0 is none
	passed atomic.Int64 // bytes

	mu     sync.Mutex
	ln     net.Listener
	place  string
	thawed chan struct{} // closed while bytes may pass
}

// stall is how long a piece is kept back, and all behind it: about what it
// takes TCP to send something again.
const stall = 200 * time.Millisecond

func newMiddlebox(t *testing.T, to string) *middlebox {
	m := &middlebox{to: to, thawed: make(chan struct{})}
	close(m.thawed)
	ln := listen(t)
	m.place = ln.Addr().String()
	m.serve(ln)
	t.Cleanup(func() {
		m.refuse()
		m.reset()
		m.thaw()
		m.conns.closeAll()
		m.running.Wait()
	})
	return m
}

func (m *middlebox) address() string { return m.place }

func (m *middlebox) open() int { return m.conns.len() }

// refuse has the operating system refuse new connections.
func (m *middlebox) refuse() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ln.Close()
}

// accept takes connections again.
func (m *middlebox) accept(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", m.place)
	if err != nil {
		t.Fatal(err)
	}
	m.serve(ln)
}

// freeze lets nothing pass from now on, and breaks nothing.
func (m *middlebox) freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.thawed = make(chan struct{})
}

// thaw lets pass what was kept, and all that follows.
func (m *middlebox) thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.thawed:
	default:
		close(m.thawed)
	}
}

// reset cuts all connections that there are, on both sides.
func (m *middlebox) reset() {
	m.conns.each(func(conn net.Conn) { resetConn(conn.(*joint).client); resetConn(conn.(*joint).server) })
}

func resetConn(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// joint is both halves of a connection through the middlebox.
type joint struct {
	net.Conn // the client's half
	client   net.Conn
	server   net.Conn
}

func (j *joint) Close() error {
	j.client.Close()
	return j.server.Close()
}

func (m *middlebox) serve(ln net.Listener) {
	m.mu.Lock()
	m.ln = ln
	m.mu.Unlock()
	m.running.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			m.running.Go(func() { m.join(client) })
		}
	})
}

func (m *middlebox) join(client net.Conn) {
	server, err := net.Dial("tcp", m.to)
	if err != nil {
		resetConn(client)
		return
	}
	j := &joint{client, client, server}
	if !m.conns.add(j) {
		return
	}
	defer m.conns.remove(j)
	var both sync.WaitGroup
	both.Go(func() { m.pass(server, client) })
	both.Go(func() { m.pass(client, server) })
	both.Wait()
}

// piece is bytes that are under way.
type piece struct {
	bytes []byte
	due   time.Time
}

// pass moves one direction to its end, and passes that on: a half-close as it
// is, anything else as a reset.
func (m *middlebox) pass(dst, src net.Conn) {
	pieces := make(chan piece, 64)
	var writing sync.WaitGroup
	writing.Go(func() {
		var failed error
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			m.mu.Lock()
			thawed := m.thawed
			m.mu.Unlock()
			<-thawed
			if failed == nil {
				if _, failed = dst.Write(p.bytes); failed != nil {
					resetConn(src) // and the reader below notices
				}
				m.passed.Add(int64(len(p.bytes)))
			}
		}
	})
	var err error
	for err == nil {
		b := make([]byte, 1+rand.IntN(32<<10)) // cut where nobody expects it
		var n int
		if n, err = src.Read(b); n > 0 {
			pieces <- piece{b[:n], m.due()}
		}
	}
	close(pieces)
	writing.Wait()
	if err == io.EOF {
		dst.(*net.TCPConn).CloseWrite()
		return
	}
	resetConn(dst)
}

func (m *middlebox) due() time.Time {
	due := time.Now().Add(time.Duration(m.delay.Load()))
	if every := m.stalls.Load(); every > 0 && rand.Int64N(every) == 0 {
		due = due.Add(stall)
	}
	return due
}
