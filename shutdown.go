package mtwire

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire/httpconn"
)

// ErrShutdown is the error of Serve, and of Receive in its handlers, after
// Listener.Shutdown. It unwraps to net.ErrClosed.
var ErrShutdown = fmt.Errorf("shutdown of the listener: %w", net.ErrClosed)

// Shutdown stops listening, lets the handlers of Serve finish, and returns when all
// have returned.
//
// A handler goes on with the packets that have arrived whole, and may send. Then its
// Receive returns ErrShutdown, also one that is waiting, so a handler that answers
// packets needs no change. Connections whose handshake is not over are closed at once.
//
// When ctx ends, Shutdown closes the connections that are left, waits for their
// handlers and returns ctx's error. It may be called from several goroutines.
// Connections returned by Accept are the caller's.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.shutdown.begin()
	err := l.net.Close()
	done := l.shutdown.drain()
	select {
	case <-done:
		return err
	case <-ctx.Done():
	}
	l.shutdown.abort()
	<-done
	return ctx.Err()
}

// shutdown is the state of a Listener's Shutdown. Its zero value is ready.
type shutdown struct {
	mu      sync.Mutex
	serving map[*connSet]struct{} // one for each running Serve
	started chan struct{}         // closed by begin
	aborted chan struct{}         // closed by abort
	ended   chan struct{}         // closed when no Serve runs after begin
}

func (s *shutdown) init() {
	if s.started == nil {
		s.started, s.aborted, s.ended = make(chan struct{}), make(chan struct{}), make(chan struct{})
		s.serving = make(map[*connSet]struct{})
	}
}

// enter notes a Serve, unless Shutdown has begun.
func (s *shutdown) enter(open *connSet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if isClosed(s.started) {
		return false
	}
	s.serving[open] = struct{}{}
	return true
}

func (s *shutdown) leave(open *connSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.serving, open)
	s.checkEnded()
}

// checkEnded closes ended when the last Serve has returned after begin. mu is held.
func (s *shutdown) checkEnded() {
	if len(s.serving) == 0 && isClosed(s.started) && !isClosed(s.ended) {
		close(s.ended)
	}
}

func (s *shutdown) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if !isClosed(s.started) {
		close(s.started)
	}
	s.checkEnded()
}

func (s *shutdown) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return isClosed(s.started)
}

// drain drains the connections, and returns a channel that is closed when no Serve runs.
func (s *shutdown) drain() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	for open := range s.serving {
		open.drain()
	}
	return s.ended
}

func (s *shutdown) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !isClosed(s.aborted) {
		close(s.aborted)
	}
}

// await waits for handlers until ctx ends, or Shutdown's does.
func (s *shutdown) await(ctx context.Context, handlers *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		handlers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	case <-s.aborted:
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// drain makes c receive nothing more, or closes it if its handshake is not over.
func (c *Conn) drain() {
	if !c.ready.Load() {
		c.Close()
		return
	}
	switch {
	case c.http != nil:
		c.http.(*httpServer).drain()
	case c.stream != nil:
		c.stream.drain()
	}
}

// drain makes a receive that waits return ErrShutdown, and every later one that would
// wait.
func (s *stream) drain() {
	s.draining.Store(true)
	if err := s.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		s.conn.Close()
	}
}

// httpServer is an httpconn.Server whose Receive drain ends.
type httpServer struct {
	*httpconn.Server
	drained context.Context
	drain   context.CancelFunc
}

func newHTTPServer(server *httpconn.Server) *httpServer {
	s := &httpServer{Server: server}
	s.drained, s.drain = context.WithCancel(context.Background())
	return s
}

func (s *httpServer) Receive(ctx context.Context) ([]byte, error) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.drained, cancel)()
	packet, err := s.Server.Receive(limited)
	if err != nil && s.drained.Err() != nil && ctx.Err() == nil {
		err = ErrShutdown
	}
	return packet, err
}

// connSet is a set of connections that can be closed together.
type connSet struct {
	mu     sync.Mutex
	conns  map[*Conn]struct{}
	closed bool // by close or drain
}

func (s *connSet) add(conn *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	if s.conns == nil {
		s.conns = make(map[*Conn]struct{})
	}
	s.conns[conn] = struct{}{}
}

// remove closes conn and removes it from the set.
func (s *connSet) remove(conn *Conn) {
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
	conn.Close()
}

// drain ends the connections of the set whose handshake is not over, and those added
// later, and makes the others receive nothing more.
func (s *connSet) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		conn.drain()
	}
}

// close closes all connections of the set, and those added later. It closes them
// concurrently, because a WebSocket waits for its peer's close frame.
func (s *connSet) close(running *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		running.Go(func() { conn.Close() })
	}
}
