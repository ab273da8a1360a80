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

// middlebox forwards TCP streams and imitates a bad network, as far as that is
// possible without packets: a lost packet is a chunk that arrives late.
type middlebox struct {
	to      string
	conns   connSet // of type *middleboxConn
	running sync.WaitGroup

	delay     atomic.Int64 // of every chunk, in nanoseconds
	stalls    atomic.Int64 // one chunk in this many stalls; 0 is none
	received  atomic.Int64 // bytes, both ways
	forwarded atomic.Int64 // of these

	mu     sync.Mutex
	ln     net.Listener
	addr   string
	thawed chan struct{} // closed unless the middlebox is frozen
}

// stallTime is the delay of a chunk that stalls, and of all behind it: about as
// long as a retransmission by TCP.
const stallTime = 200 * time.Millisecond

func newMiddlebox(t *testing.T, to string) *middlebox {
	m := &middlebox{to: to, thawed: make(chan struct{})}
	close(m.thawed)
	ln := listenApart(t) // see accept
	m.addr = ln.Addr().String()
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

func (m *middlebox) address() string { return m.addr }

func (m *middlebox) open() int { return m.conns.len() }

// refuse closes the listener, so that the operating system refuses new
// connections.
func (m *middlebox) refuse() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ln.Close()
}

// accept accepts new connections again, after refuse.
func (m *middlebox) accept(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	m.serve(ln)
}

// freeze stops forwarding, without closing a connection.
func (m *middlebox) freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.thawed = make(chan struct{})
}

// thaw forwards again, first the bytes that have arrived meanwhile.
func (m *middlebox) thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.thawed:
	default:
		close(m.thawed)
	}
}

// reset resets all connections, on both sides.
func (m *middlebox) reset() {
	m.conns.each(func(conn net.Conn) {
		resetConn(conn.(*middleboxConn).Conn)
		resetConn(conn.(*middleboxConn).server)
	})
}

// resetConn closes a TCP connection with RST.
func resetConn(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// middleboxConn is a connection through the middlebox. Close closes both sides.
type middleboxConn struct {
	net.Conn // the client's
	server   net.Conn
}

func (c *middleboxConn) Close() error {
	c.Conn.Close()
	return c.server.Close()
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
			m.running.Go(func() { m.connect(client) })
		}
	})
}

// connect dials the server for a client's connection, and forwards both ways.
func (m *middlebox) connect(client net.Conn) {
	server, err := net.Dial("tcp", m.to)
	if err != nil {
		resetConn(client)
		return
	}
	c := &middleboxConn{client, server}
	if !m.conns.add(c) {
		return
	}
	defer m.conns.remove(c)
	var both sync.WaitGroup
	both.Go(func() { m.forward(server, client) })
	both.Go(func() { m.forward(client, server) })
	both.Wait()
}

// chunk is a part of a stream, or a packet, in flight.
type chunk struct {
	bytes []byte
	due   time.Time // when it is delivered
}

// forward copies from src to dst until src ends. It forwards a half-close as a
// half-close, and every other end as a reset.
func (m *middlebox) forward(dst, src net.Conn) {
	chunks := make(chan chunk, 64)
	var writing sync.WaitGroup
	writing.Go(func() {
		var failed error
		for c := range chunks {
			time.Sleep(time.Until(c.due))
			m.mu.Lock()
			thawed := m.thawed
			m.mu.Unlock()
			<-thawed
			if failed == nil {
				if _, failed = dst.Write(c.bytes); failed != nil {
					resetConn(src) // which ends the read below
				}
				m.forwarded.Add(int64(len(c.bytes)))
			}
		}
	})
	var err error
	for err == nil {
		b := make([]byte, 1+rand.IntN(32<<10)) // boundaries at any byte
		var n int
		if n, err = src.Read(b); n > 0 {
			m.received.Add(int64(n))
			chunks <- chunk{b[:n], m.due()}
		}
	}
	close(chunks)
	writing.Wait()
	if err == io.EOF {
		dst.(*net.TCPConn).CloseWrite()
		return
	}
	resetConn(dst)
}

// due returns when a chunk that arrives now is delivered.
func (m *middlebox) due() time.Time {
	due := time.Now().Add(time.Duration(m.delay.Load()))
	if every := m.stalls.Load(); every > 0 && rand.Int64N(every) == 0 {
		due = due.Add(stallTime)
	}
	return due
}
