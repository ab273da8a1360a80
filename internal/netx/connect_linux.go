package netx

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// selfConnects is how often Connect tries again after it has connected to itself.
const selfConnects = 2

// Connect opens a TCP connection to an address without zone, as a net.Dialer without
// keep-alive does, with the same errors. wait returns when the socket can be written to,
// or with ctx's error when ctx ends.
func Connect(ctx context.Context, remote netip.AddrPort, wait func(context.Context, *Socket) error) (*Socket, error) {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	for tries := 0; ; tries++ {
		s, err := connect(ctx, remote, wait)
		again := err == nil && s.toItself() || errors.Is(err, syscall.EADDRNOTAVAIL)
		if again && tries < selfConnects {
			if s != nil {
				s.Close()
			}
			continue
		}
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(remote), Err: err}
		}
		return s, nil
	}
}

// toItself reports whether s is connected to itself: if its own port, which the system
// has chosen, is the one that it connects to, and nothing listens there.
//
// See https://go.dev/issue/2690
func (s *Socket) toItself() bool {
	var name unix.RawSockaddrAny
	s.control("getsockname", func(fd uintptr) syscall.Errno { return nameNow(unix.SYS_GETSOCKNAME, fd, &name) })
	return addrPortOf(&name) == s.remote
}

func connect(ctx context.Context, remote netip.AddrPort, wait func(context.Context, *Socket) error) (*Socket, error) {
	if err := ctx.Err(); err != nil {
		return nil, dialError(err)
	}
	family := unix.AF_INET6
	if remote.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, errno := socketNow(family)
	if errno != 0 {
		return nil, os.NewSyscallError("socket", errno)
	}
	s := newSocket(fd, remote)
	if err := s.connect(ctx, wait); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// connect connects a new socket.
func (s *Socket) connect(ctx context.Context, wait func(context.Context, *Socket) error) error {
	fd := uintptr(s.fd)
	if errno := setOptionNow(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); errno != 0 {
		return os.NewSyscallError("setsockopt", errno)
	}
	name, length := nameOf(s.remote)
	switch errno := connectNow(fd, &name, length); errno {
	case 0, syscall.EISCONN:
		return nil
	case syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR:
	default:
		return os.NewSyscallError("connect", errno)
	}
	for {
		// A peer on this machine has answered by now.
		if ready, _ := PollNow(fd, unix.POLLOUT); ready != 0 {
			errno, failed := optionNow(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			switch {
			case failed != 0:
				return os.NewSyscallError("getsockopt", failed)
			case errno != 0:
				return os.NewSyscallError("connect", syscall.Errno(errno))
			case nameNow(unix.SYS_GETPEERNAME, fd, new(unix.RawSockaddrAny)) == 0:
				return nil
			}
		}
		if err := wait(ctx, s); err != nil {
			return dialError(err)
		}
	}
}

// dialError returns the error of package net for that of a context.
func dialError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &contextError{"i/o timeout", true, context.DeadlineExceeded}
	case errors.Is(err, context.Canceled):
		return &contextError{"operation was canceled", false, context.Canceled}
	}
	return err
}

// contextError is a context's error with the text and the methods of package net's.
type contextError struct {
	text    string
	timeout bool
	err     error
}

func (e *contextError) Error() string   { return e.text }
func (e *contextError) Timeout() bool   { return e.timeout }
func (e *contextError) Temporary() bool { return e.timeout }
func (e *contextError) Unwrap() error   { return e.err }

// Is makes the end of a context's time a deadline, too: for package net it is the one
// or the other, whichever is noticed first.
func (e *contextError) Is(target error) bool { return e.timeout && target == os.ErrDeadlineExceeded }
