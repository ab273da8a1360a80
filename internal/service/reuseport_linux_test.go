package service

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sharedListeners is listeners on one address, each of which answers connections with a
// byte.
type sharedListeners struct {
	t       *testing.T
	address string
	serving sync.WaitGroup
}

// anyPort is the address of the first to listen.
const anyPort = "127.0.0.1:0"

// start begins to listen, beside those that listen already, and counts what it has
// accepted.
func (s *sharedListeners) start() (ln *sharedTCPListener, accepted *atomic.Int64) {
	s.t.Helper()
	config := net.ListenConfig{Control: sharePort}
	config.SetMultipathTCP(false)
	plain, err := config.Listen(s.t.Context(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	ln, accepted = shareListener(plain).(*sharedTCPListener), new(atomic.Int64)
	if s.address == anyPort {
		s.address = ln.Addr().String()
	}
	s.t.Cleanup(func() { ln.Close() })
	s.serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			conn.Write([]byte{1})
			conn.Close()
		}
	})
	return ln, accepted
}

// connect connects and gets the answer.
func (s *sharedListeners) connect() error {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// However many clients connect when a process hands over, and in whichever moment, none
// is refused or reset. Afterwards, and when a third process listens, all that listen get
// connections.
func TestHandOverLosesNoConnection(t *testing.T) {
	s := &sharedListeners{t: t, address: anyPort}
	t.Cleanup(s.serving.Wait)
	running, _ := s.start()
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	var served [8]atomic.Int64 // by each client
	for i := range served {
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := s.connect(); err != nil {
					t.Errorf("after %d connections: %v", served[i].Load(), err)
					return
				}
				served[i].Add(1)
			}
		})
	}
	more := func(count *atomic.Int64, n int64) error {
		want := count.Load() + n
		for end := time.Now().Add(20 * time.Second); count.Load() < want && !t.Failed(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("%d connections of %d", count.Load(), want)
			}
		}
		return nil
	}
	for i := range 30 {
		next, accepted := s.start()
		if err := more(accepted, 20); err != nil { // and not all of them
			t.Fatalf("hand-over %d: the new process gets no connections: %v", i, err)
		}
		if err := running.divert(); err != nil {
			t.Fatal(err)
		}
		for client := range served { // the handshakes that had begun are over
			if err := more(&served[client], 2); err != nil {
				t.Fatalf("hand-over %d: a client is not served: %v", i, err)
			}
		}
		running.Close()
		running = next
	}
	_, accepted := s.start()
	_, third := s.start()
	for _, count := range []*atomic.Int64{accepted, third} {
		if err := more(count, 20); err != nil {
			t.Errorf("one of three processes gets no connections: %v", err)
		}
	}
}
