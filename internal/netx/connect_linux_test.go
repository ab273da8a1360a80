package netx

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"golang.org/x/sys/unix"
)

// expectDialError compares the error of Connect with that of a net.Dialer.
func expectDialError(t *testing.T, newContext func() (context.Context, context.CancelFunc), address string, causes ...error) {
	t.Helper()
	try := func(dial func(ctx context.Context) (net.Conn, error)) error {
		ctx, cancel := newContext()
		defer cancel()
		conn, err := dial(ctx)
		if err == nil {
			conn.Close()
			t.Fatalf("%s is connected", address)
		}
		return err
	}
	want := try(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	})
	err := try(func(ctx context.Context) (net.Conn, error) {
		s, err := Connect(ctx, netip.MustParseAddrPort(address), writable)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
	if err.Error() != want.Error() {
		t.Errorf("the error is %q, package net's %q", err, want)
	}
	got, ok := err.(*net.OpError)
	if dialled := want.(*net.OpError); !ok || got.Op != dialled.Op || got.Net != dialled.Net || got.Addr.String() != dialled.Addr.String() || got.Timeout() != dialled.Timeout() || got.Temporary() != dialled.Temporary() {
		t.Errorf("the error is %+v, package net's %+v", err, dialled)
	}
	if got, want := reflect.TypeOf(err), reflect.TypeOf(want); got != want {
		t.Errorf("a %v, package net's is a %v", got, want)
	}
	others := []error{context.Canceled, syscall.ECONNREFUSED}
	if !got.Timeout() { // package net's has one of these causes
		others = append(others, context.DeadlineExceeded, os.ErrDeadlineExceeded)
	}
	for _, cause := range others {
		if errors.Is(err, cause) != errors.Is(want, cause) {
			t.Errorf("%v is %v: %t, package net's: %t", err, cause, errors.Is(err, cause), errors.Is(want, cause))
		}
	}
	for _, cause := range causes {
		if !errors.Is(err, cause) {
			t.Errorf("%v is not %v", err, cause)
		}
	}
}

func noLimit() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

// fullListener returns an address that does not answer, because a queue is full.
func fullListener(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	raw, _ := ln.(*net.TCPListener).SyscallConn()
	raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) })
	if err != nil {
		t.Fatal(err)
	}
	var queue *unix.TCPInfo
	for range 100 {
		// A timeout alone does not prove that the queue is full: this process may be held up.
		if conn, err := net.DialTimeout("tcp", ln.Addr().String(), 50*time.Millisecond); err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		raw.Control(func(fd uintptr) { queue, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
		if err != nil {
			t.Fatal(err)
		}
		if queue.Unacked > queue.Sacked { // of a listener, the queue's length and the backlog
			return ln.Addr().String()
		}
	}
	t.Fatalf("the queue has %d connections of %d", queue.Unacked, queue.Sacked)
	return ""
}

// The errors of Connect are those of package net, in text, type and cause.
func TestConnectFailsAsPackageNetDoes(t *testing.T) {
	dead, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	expectDialError(t, noLimit, dead, syscall.ECONNREFUSED)

	full := fullListener(t)
	expectDialError(t, func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), 20*time.Millisecond)
	}, full, context.DeadlineExceeded, os.ErrDeadlineExceeded)
	expectDialError(t, func() (context.Context, context.CancelFunc) {
		ctx, cancel := noLimit()
		time.AfterFunc(20*time.Millisecond, cancel)
		return ctx, cancel
	}, full, context.Canceled)
	expectDialError(t, func() (context.Context, context.CancelFunc) {
		ctx, cancel := noLimit()
		cancel()
		return ctx, cancel
	}, full, context.Canceled)
	expectDialError(t, func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), -time.Second)
	}, full, context.DeadlineExceeded, os.ErrDeadlineExceeded)
}

// A socket that connects to its own port is not a connection.
func TestConnectDoesNotReachItself(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	address := netip.MustParseAddrPort(ln.Addr().String())
	fd, errno := socketNow(unix.AF_INET)
	if errno != 0 {
		t.Fatal(errno)
	}
	s := newSocket(fd, address)
	defer s.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	if err := s.connect(context.Background(), writable); err != nil {
		t.Fatal(err)
	}
	if !s.toItself() {
		t.Error("it is not noticed")
	}
}
