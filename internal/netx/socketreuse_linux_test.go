package netx

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// churn uses a connection from several goroutines, and closes it from two of them in the
// middle of that. Every byte of the connection is id.
func churn(t *testing.T, ln net.Listener, id byte, round int) {
	dialled, accepted := connectSockets(t, ln)
	port := func(s *Socket) uint16 { return s.LocalAddr().(*net.TCPAddr).AddrPort().Port() }
	ports := map[*Socket]uint16{dialled: port(dialled), accepted: port(accepted)}
	var running sync.WaitGroup
	for _, s := range []*Socket{dialled, accepted} {
		running.Go(func() { // writes
			b := make([]byte, 1<<uint(round%16))
			for i := range b {
				b[i] = id
			}
			for {
				if _, err := s.Write(b); err != nil {
					return
				}
			}
		})
		running.Go(func() { // reads
			b := make([]byte, 4096)
			for {
				n, err := s.Read(b)
				for _, got := range b[:n] {
					if got != id {
						t.Errorf("connection %d has read a byte of connection %d", id, got)
						return
					}
				}
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					return
				}
			}
		})
		running.Go(func() { // sets options and deadlines, and looks at its descriptor
			raw, _ := s.SyscallConn()
			for {
				s.SetReadDeadline(time.Now().Add(time.Millisecond))
				s.SetKeepAlive(true)
				runtime.Gosched()
				var name unix.RawSockaddrAny
				var errno syscall.Errno
				if raw.Control(func(fd uintptr) { errno = nameNow(unix.SYS_GETSOCKNAME, fd, &name) }) != nil {
					return
				}
				if got := addrPortOf(&name); errno != 0 || got.Port() != ports[s] {
					t.Errorf("the descriptor is of %v (%v), want port %d", got, errno, ports[s])
					return
				}
			}
		})
	}
	time.AfterFunc(time.Duration(round%5)*200*time.Microsecond, func() { dialled.Close() })
	if round%3 > 0 {
		time.AfterFunc(time.Duration(round%7)*150*time.Microsecond, func() { accepted.Close() })
	}
	running.Go(func() { // closes again: only one Close succeeds
		for dialled.Close(); !accepted.closed() && round%3 > 0; {
			accepted.SetDeadline(longAgo)
			runtime.Gosched()
		}
		accepted.Close()
	})
	running.Wait()
	if err := dialled.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

// No call on a connection, whatever it does while that is closed, meets another
// connection that has got the number of its descriptor; and all descriptors are closed
// in the end.
func TestClosedDescriptorsAreNotUsed(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	const workers, rounds = 8, 40
	var listeners [workers]net.Listener
	for i := range listeners {
		listeners[i] = listenSockets(t, "tcp", "127.0.0.1:0")
	}
	connectSockets(t, listeners[0]) // the runtime's own descriptors
	before := descriptors()
	var running sync.WaitGroup
	for i, ln := range listeners {
		running.Go(func() {
			for round := range rounds {
				churn(t, ln, byte(i+1), round+i)
			}
		})
	}
	running.Wait()
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// A call that waits returns net.ErrClosed when its connection is closed, also if the
// wait begins at that moment.
func TestCloseEndsWaits(t *testing.T) {
	ln := listenSockets(t, "tcp", "127.0.0.1:0")
	for round := range 200 {
		_, accepted := connectSockets(t, ln)
		ended := make(chan error)
		go func() {
			_, err := accepted.Read(make([]byte, 1))
			ended <- err
		}()
		if round%2 == 0 {
			for accepted.users.Load() == 0 { // until Read has begun
				runtime.Gosched()
			}
		}
		accepted.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := accepted.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("deadline: %v", err)
		}
		if err := accepted.CloseWrite(); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("half-close: %v", err)
		}
	}
}

// A deadline that cannot be set, because the runtime's poller has not taken the descriptor,
// does not keep Close from returning.
func TestSocketCloseDuringRefusedDeadline(t *testing.T) {
	ln := listenSockets(t, "tcp", "127.0.0.1:0")
	for range 300 {
		s, _ := connectSockets(t, ln)
		s.file = os.NewFile(uintptr(s.fd), "socket")
		refused := make(chan struct{})
		go func() {
			defer close(refused)
			for {
				err := s.setDeadline(&s.readUntil, func(*os.File, time.Time) error { return os.ErrNoDeadline }, time.Now())
				if errors.Is(err, net.ErrClosed) {
					return
				}
			}
		}()
		runtime.Gosched()
		s.Close()
		<-refused
	}
}
