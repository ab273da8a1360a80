package netx

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"
)

// writable is the wait of Connect, by means of the runtime's poller.
func writable(ctx context.Context, s *Socket) error {
	raw, _ := s.SyscallConn()
	return Interruptible(ctx, s.SetWriteDeadline, func() error {
		return raw.Write(func(fd uintptr) bool {
			ready, _ := PollNow(fd, unix.POLLOUT)
			return ready != 0
		})
	})
}

// listenSockets returns a listener for Sockets.
func listenSockets(t testing.TB, network, address string) net.Listener {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), network, address)
	if err != nil {
		t.Skip(err) // there may be no IPv6
	}
	sockets := Sockets(ln)
	if _, ok := sockets.(*Listener); !ok {
		t.Fatalf("the listener is a %T", sockets)
	}
	t.Cleanup(func() { sockets.Close() })
	return sockets
}

// connectSockets returns both ends of a connection to ln.
func connectSockets(t testing.TB, ln net.Listener) (dialled, accepted *Socket) {
	t.Helper()
	dialled, err := Connect(context.Background(), netip.MustParseAddrPort(ln.Addr().String()), writable)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted = conn.(*Socket)
	t.Cleanup(func() {
		dialled.Close()
		accepted.Close()
	})
	return dialled, accepted
}

// A Socket is a net.Conn as package net documents it: deadlines, calls at the same time,
// and a close meanwhile.
func TestSocketIsAConn(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			ln := listenSockets(t, "tcp", address)
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				dialled, accepted := connectSockets(t, ln)
				return dialled, accepted, func() {
					dialled.Close()
					accepted.Close()
				}, nil
			})
		})
	}
}

// The addresses of a Socket are those that package net returns, also if an IPv4 client
// has come to a listener for both families.
func TestSocketHasAddresses(t *testing.T) {
	for _, test := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"}, {"[::1]:0", "::1"}, {":0", "127.0.0.1"},
	} {
		ln := listenSockets(t, "tcp", test.listen)
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		conn, err := net.Dial("tcp", net.JoinHostPort(test.dial, port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := accepted.RemoteAddr().String(), conn.LocalAddr().String(); got != want {
			t.Errorf("the remote address is %s, want %s", got, want)
		}
		if got, want := accepted.LocalAddr().String(), conn.RemoteAddr().String(); got != want {
			t.Errorf("the local address is %s, want %s", got, want)
		}
		accepted.Close()
		if accepted.LocalAddr() == nil || accepted.RemoteAddr().String() != conn.LocalAddr().String() {
			t.Errorf("addresses after Close: %v, %v", accepted.LocalAddr(), accepted.RemoteAddr())
		}
	}
}

// What need not wait leaves the descriptor unknown to the runtime's poller; what has to
// wait makes it known, with the deadlines that were set before.
func TestSocketWaitsOnlyIfItMust(t *testing.T) {
	dialled, accepted := connectSockets(t, listenSockets(t, "tcp", "127.0.0.1:0"))
	accepted.SetReadDeadline(time.Now().Add(time.Hour))
	if _, err := dialled.Write([]byte("message")); err != nil {
		t.Fatal(err)
	}
	if n, err := accepted.Read(make([]byte, 16)); n != 7 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if dialled.file != nil || accepted.file != nil {
		t.Error("the runtime's poller has the sockets")
	}
	for limit := time.Millisecond; accepted.file == nil; limit *= 2 {
		if limit > time.Minute {
			t.Fatal("nothing waits for the socket")
		}
		accepted.SetReadDeadline(time.Now().Add(limit)) // which may be over before the wait
		if _, err := accepted.Read(make([]byte, 16)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read without bytes: %v", err)
		}
	}
}

// Half-close: the peer reads the end of the stream, and still writes.
func TestSocketClosesOneDirection(t *testing.T) {
	dialled, accepted := connectSockets(t, listenSockets(t, "tcp", "127.0.0.1:0"))
	if err := CloseWrite(dialled); err != nil {
		t.Fatal(err)
	}
	if _, err := accepted.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v", err)
	}
	if _, err := accepted.Write([]byte("x")); err != nil {
		t.Errorf("write: %v", err)
	}
	if n, err := dialled.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("read: %d, %v", n, err)
	}
	if _, err := dialled.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after the half-close: %v", err)
	}
}

// A reset is an error of the system, in package net's.
func TestSocketIsReset(t *testing.T) {
	dialled, accepted := connectSockets(t, listenSockets(t, "tcp", "127.0.0.1:0"))
	dialled.SetLinger(0)
	dialled.Close()
	_, err := accepted.Read(make([]byte, 1))
	var op *net.OpError
	if !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &op) || op.Op != "read" || op.Source == nil {
		t.Errorf("read: %v", err)
	}
}

// Accepted sockets send small packets at once and have no keep-alive probes; both can be
// changed.
func TestSocketHasOptions(t *testing.T) {
	dialled, accepted := connectSockets(t, listenSockets(t, "tcp", "127.0.0.1:0"))
	expect := func(s *Socket, name string, level, option, want int) {
		t.Helper()
		if got, errno := optionNow(uintptr(s.fd), level, option); got != want || errno != 0 {
			t.Errorf("%s: %d, %v, want %d", name, got, errno, want)
		}
	}
	for _, s := range []*Socket{dialled, accepted} {
		expect(s, "no delay", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		expect(s, "keep-alive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
		if err := SetLiveness(s, Liveness{Idle: time.Minute, Interval: 1500 * time.Millisecond, Count: 7, UserTimeout: time.Second}); err != nil {
			t.Fatal(err)
		}
		expect(s, "keep-alive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		expect(s, "idle", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60)
		expect(s, "interval", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2)
		expect(s, "count", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 7)
		expect(s, "user timeout", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000)
		if flags, _ := unix.FcntlInt(uintptr(s.fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
			t.Error("child processes inherit the descriptor")
		}
		if flags, _ := unix.FcntlInt(uintptr(s.fd), unix.F_GETFL, 0); flags&unix.O_NONBLOCK == 0 {
			t.Error("the descriptor blocks")
		}
	}
	if err := SetLiveness(accepted, Liveness{Idle: -1}); err != nil {
		t.Fatal(err)
	}
	expect(accepted, "keep-alive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
}

// A file of a Socket is a descriptor of its own.
func TestSocketHasAFile(t *testing.T) {
	dialled, accepted := connectSockets(t, listenSockets(t, "tcp", "127.0.0.1:0"))
	file, err := dialled.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dialled.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("x"))
	if n, err := accepted.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("read: %d, %v", n, err)
	}
}

// A listener that is closed ends Accept, and listens no more.
func TestClosedListenerDoesNotListen(t *testing.T) {
	ln := listenSockets(t, "tcp", "127.0.0.1:0")
	ended := make(chan error)
	go func() {
		_, err := ln.Accept()
		ended <- err
	}()
	ln.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		conn.Close()
		t.Error("the address still listens")
	}
	if err := ln.(*Listener).SetDeadline(time.Now()); err == nil {
		t.Error("a closed listener has a deadline")
	}
}

// A deadline ends Accept, and other errors of the system are package net's.
func TestListenerHasADeadline(t *testing.T) {
	ln := listenSockets(t, "tcp", "127.0.0.1:0").(*Listener)
	ln.SetDeadline(time.Now())
	_, err := ln.Accept()
	var op *net.OpError
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) || op.Op != "accept" {
		t.Errorf("Accept: %v", err)
	}
}
