package netx

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is a TCP connection of a Listener or of Connect. It is a net.Conn as a
// *net.TCPConn is, with the same errors, and may be used in its place, but it is little
// more than a descriptor: calls that need not wait are system calls that the scheduler
// is not told of, and the runtime's poller does not know the descriptor until a call has
// to wait. So a short connection costs less, and an idle one a third of the memory.
//
// A Socket must be closed: the garbage collector does not.
type Socket struct {
	fd     int32
	remote netip.AddrPort

	// users is how many calls use fd, plus closing once Close was called. The last
	// one closes fd, so that no call meets another connection under its number.
	users atomic.Int32

	reading, writing sync.Mutex // held by a call of the direction

	mu         sync.Mutex
	readUntil  int64           // read deadline, since socketEpoch; 0 if there is none
	writeUntil int64           // likewise
	file       *os.File        // has fd once a call had to wait
	waits      syscall.RawConn // of file, nil if that cannot wait
}

const closing = math.MinInt32

// errUnpolled means that the runtime's poller has not taken a descriptor: the user's
// epoll watches are used up.
var errUnpolled = os.NewSyscallError("epoll_ctl", unix.ENOSPC)

// socketEpoch is a time from which deadlines are counted.
var socketEpoch = time.Now()

// NewSocket returns a Socket for a descriptor of a TCP connection that does not block, which
// it owns. It returns the error of getpeername(2), and EAFNOSUPPORT for another socket than
// one of IP: then the descriptor remains the caller's.
func NewSocket(fd int) (*Socket, error) {
	var name unix.RawSockaddrAny
	errno := nameNow(unix.SYS_GETPEERNAME, uintptr(fd), &name)
	remote := addrPortOf(&name)
	if errno == 0 && !remote.IsValid() {
		errno = syscall.EAFNOSUPPORT
	}
	if errno != 0 {
		return nil, os.NewSyscallError("getpeername", errno)
	}
	return newSocket(fd, remote), nil
}

func newSocket(fd int, remote netip.AddrPort) *Socket { return &Socket{fd: int32(fd), remote: remote} }

// acquire begins a call that uses fd, and reports whether it may: Close was not called.
func (s *Socket) acquire() bool {
	for {
		n := s.users.Load()
		if n < 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release ends a call that uses fd.
func (s *Socket) release() {
	if s.users.Add(-1) == closing {
		s.destroy()
	}
}

// destroy closes fd, which nothing uses any more.
func (s *Socket) destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.Close()
		return
	}
	closeNow(uintptr(s.fd))
}

// Close closes the connection. Calls that wait return net.ErrClosed, and the last of
// them closes the descriptor.
func (s *Socket) Close() error {
	for {
		n := s.users.Load()
		if n < 0 {
			return s.opError("close", net.ErrClosed)
		}
		if !s.users.CompareAndSwap(n, n+closing) {
			continue
		}
		if n == 0 {
			s.destroy()
			return nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.file != nil {
			s.file.SetDeadline(longAgo) // setDeadline does not change it again
		}
		return nil
	}
}

func (s *Socket) closed() bool { return s.users.Load() < 0 }

// waiter returns what waits for fd, and registers fd with the runtime's poller before
// that if need be. The caller has acquired s.
func (s *Socket) waiter() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		s.file = os.NewFile(uintptr(s.fd), "socket")
		if err := s.file.SetDeadline(time.Time{}); err == nil { // otherwise it has no poller
			s.waits, _ = s.file.SyscallConn()
			if s.readUntil != 0 {
				s.file.SetReadDeadline(socketEpoch.Add(time.Duration(s.readUntil)))
			}
			if s.writeUntil != 0 {
				s.file.SetWriteDeadline(socketEpoch.Add(time.Duration(s.writeUntil)))
			}
		}
	}
	if s.closed() { // Close may have been called before there was a file
		return nil, net.ErrClosed
	}
	if s.waits == nil {
		return nil, errUnpolled
	}
	return s.waits, nil
}

// call makes one call of a direction: attempt, until it returns true. until is the
// direction's deadline.
func (s *Socket) call(op string, until *int64, attempt func(fd uintptr) (done bool), wait func(syscall.RawConn, func(uintptr) bool) error) error {
	if !s.acquire() {
		return s.opError(op, net.ErrClosed)
	}
	defer s.release()
	s.mu.Lock()
	waits, limit := s.waits, *until
	s.mu.Unlock()
	if limit != 0 && time.Since(socketEpoch) >= time.Duration(limit) {
		return s.opError(op, os.ErrDeadlineExceeded)
	}
	if waits == nil {
		if attempt(uintptr(s.fd)) {
			return nil
		}
		var err error
		if waits, err = s.waiter(); err != nil {
			return s.opError(op, err)
		}
	}
	err := wait(waits, attempt)
	switch {
	case err == nil:
		return nil
	case s.closed():
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	}
	return s.opError(op, err)
}

func (s *Socket) read(op string, attempt func(fd uintptr) (done bool)) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.call(op, &s.readUntil, attempt, syscall.RawConn.Read)
}

func (s *Socket) write(op string, attempt func(fd uintptr) (done bool)) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.call(op, &s.writeUntil, attempt, syscall.RawConn.Write)
}

func (s *Socket) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var failed error
	if err := s.read("read", func(fd uintptr) bool {
		n, failed = ReadSocket(fd, b)
		return failed != syscall.EAGAIN
	}); err != nil {
		return 0, err
	}
	if failed != nil && failed != io.EOF {
		failed = s.opError("read", os.NewSyscallError("read", failed))
	}
	return n, failed
}

func (s *Socket) Write(b []byte) (n int, err error) {
	var failed error
	if err := s.write("write", func(fd uintptr) bool {
		for n < len(b) {
			var sent int
			sent, failed = WriteSocket(fd, b[n:])
			if n += sent; failed != nil {
				return failed != syscall.EAGAIN
			}
		}
		return true
	}); err != nil {
		return n, err
	}
	if failed != nil {
		failed = s.opError("write", os.NewSyscallError("write", failed))
	}
	return n, failed
}

// LocalAddr returns an address without IP and port after Close.
func (s *Socket) LocalAddr() net.Addr {
	var name unix.RawSockaddrAny
	if s.acquire() {
		nameNow(unix.SYS_GETSOCKNAME, uintptr(s.fd), &name)
		s.release()
	}
	return net.TCPAddrFromAddrPort(addrPortOf(&name))
}

func (s *Socket) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

func (s *Socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *Socket) SetReadDeadline(t time.Time) error {
	return s.setDeadline(&s.readUntil, (*os.File).SetReadDeadline, t)
}

func (s *Socket) SetWriteDeadline(t time.Time) error {
	return s.setDeadline(&s.writeUntil, (*os.File).SetWriteDeadline, t)
}

func (s *Socket) setDeadline(until *int64, set func(*os.File, time.Time) error, t time.Time) error {
	if err := s.changeDeadline(until, set, t); err != nil {
		return s.opError("set", err) // not under mu: it may be the last call that uses fd
	}
	return nil
}

func (s *Socket) changeDeadline(until *int64, set func(*os.File, time.Time) error, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed() {
		return net.ErrClosed
	}
	*until = 0
	if !t.IsZero() {
		if *until = int64(t.Sub(socketEpoch)); *until == 0 {
			*until = 1
		}
	}
	if s.file == nil {
		return nil
	}
	return set(s.file, t)
}

// control calls f with the descriptor.
func (s *Socket) control(op string, f func(fd uintptr) syscall.Errno) error {
	if !s.acquire() {
		return s.opError(op, net.ErrClosed)
	}
	defer s.release()
	if errno := f(uintptr(s.fd)); errno != 0 {
		return s.opError(op, os.NewSyscallError(op, errno))
	}
	return nil
}

// CloseWrite closes the sending direction.
func (s *Socket) CloseWrite() error { return s.control("shutdown", ShutdownNow) }

func (s *Socket) setOption(level, option, value int) error {
	return s.control("setsockopt", func(fd uintptr) syscall.Errno { return setOptionNow(fd, level, option, value) })
}

// SetNoDelay is as for a net.TCPConn. It is on at the beginning, as there.
func (s *Socket) SetNoDelay(on bool) error {
	return s.setOption(unix.IPPROTO_TCP, unix.TCP_NODELAY, number(on))
}

// SetKeepAlive is as for a net.TCPConn. It is off at the beginning.
func (s *Socket) SetKeepAlive(on bool) error {
	return s.setOption(unix.SOL_SOCKET, unix.SO_KEEPALIVE, number(on))
}

// SetKeepAliveConfig is as for a net.TCPConn, but a zero field leaves the socket's
// setting unchanged, as a negative one does.
func (s *Socket) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	const roundUp = time.Second - 1
	return s.control("setsockopt", func(fd uintptr) (errno syscall.Errno) {
		errno = setOptionNow(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, number(config.Enable))
		for _, o := range [...]struct{ option, value int }{
			{unix.TCP_KEEPIDLE, int((config.Idle + roundUp) / time.Second)},
			{unix.TCP_KEEPINTVL, int((config.Interval + roundUp) / time.Second)},
			{unix.TCP_KEEPCNT, config.Count},
		} {
			if errno == 0 && o.value > 0 {
				errno = setOptionNow(fd, unix.IPPROTO_TCP, o.option, o.value)
			}
		}
		return errno
	})
}

// SetLinger is as for a net.TCPConn.
func (s *Socket) SetLinger(seconds int) error {
	return s.control("setsockopt", func(fd uintptr) syscall.Errno {
		linger := unix.Linger{Onoff: int32(number(seconds >= 0)), Linger: int32(max(seconds, 0))}
		_, _, errno := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&linger)), unix.SizeofLinger, 0)
		return errno
	})
}

// File returns a file with a duplicate of the descriptor.
func (s *Socket) File() (*os.File, error) {
	duplicate := -1
	if err := s.control("fcntl", func(fd uintptr) syscall.Errno {
		r, _, errno := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 0)
		duplicate = int(r)
		return errno
	}); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(duplicate), "socket"), nil
}

func number(on bool) int {
	if on {
		return 1
	}
	return 0
}

// opError is err as package net returns it.
func (s *Socket) opError(op string, err error) error {
	failed := &net.OpError{Op: op, Net: "tcp", Addr: s.RemoteAddr(), Err: err}
	if !s.closed() {
		failed.Source = s.LocalAddr()
	}
	return failed
}

// SyscallConn returns s as a RawConn. It does not allocate.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return (*rawSocket)(s), nil }

// rawSocket is a Socket as a syscall.RawConn.
type rawSocket Socket

func (r *rawSocket) Control(f func(fd uintptr)) error {
	s := (*Socket)(r)
	if !s.acquire() {
		return s.opError("raw-control", net.ErrClosed)
	}
	defer s.release()
	f(uintptr(s.fd))
	return nil
}

func (r *rawSocket) Read(f func(fd uintptr) (done bool)) error {
	return (*Socket)(r).read("raw-read", f)
}

func (r *rawSocket) Write(f func(fd uintptr) (done bool)) error {
	return (*Socket)(r).write("raw-write", f)
}

// addrPortOf returns the address of a socket, invalid if it is of another family. An
// IPv4 address that is mapped into IPv6 is an IPv4 address.
func addrPortOf(name *unix.RawSockaddrAny) netip.AddrPort {
	switch name.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), ntohs(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(name))
		address := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 && address.Is6() {
			address = address.WithZone(zone(int(in.Scope_id)))
		}
		return netip.AddrPortFrom(address, ntohs(in.Port))
	}
	return netip.AddrPort{}
}

// nameOf is the reverse of addrPortOf, for an address without zone.
func nameOf(a netip.AddrPort) (name unix.RawSockaddrAny, length uint32) {
	if a.Addr().Is4() {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&name))
		in.Family, in.Addr, in.Port = unix.AF_INET, a.Addr().As4(), htons(a.Port())
		return name, unix.SizeofSockaddrInet4
	}
	in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&name))
	in.Family, in.Addr, in.Port = unix.AF_INET6, a.Addr().As16(), htons(a.Port())
	return name, unix.SizeofSockaddrInet6
}

// zone returns the name of a network interface, or its number if it has none.
func zone(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return strconv.Itoa(index)
}

// ntohs returns a port in the byte order of this machine.
func ntohs(port uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, port))
}

// htons returns a port in that of the network.
func htons(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}
