package netx

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sockets returns a listener for ln's connections whose Accept returns a *Socket, if ln
// is a *net.TCPListener. Otherwise, or if that is not possible, it returns ln. ln is then
// the result's, which closes it, and must not be closed by itself.
//
// The connections have no keep-alive probes at the beginning.
func Sockets(ln net.Listener) net.Listener {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return ln
	}
	file, err := tcp.File() // package net lets nothing else wait for a listener
	if err != nil {
		return ln
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return ln
	}
	if file.SetDeadline(time.Time{}) != nil { // the user's epoll watches are used up, and Accept could not wait
		file.Close()
		return ln
	}
	// Connections inherit these.
	var failed syscall.Errno
	raw.Control(func(fd uintptr) {
		failed = setOptionNow(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if failed == 0 {
			failed = setOptionNow(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
		}
	})
	if failed != 0 {
		file.Close()
		return ln
	}
	return &Listener{TCPListener: tcp, file: file, raw: raw}
}

// Listener is a TCP listener whose Accept returns a *Socket. See Sockets.
type Listener struct {
	*net.TCPListener
	file      *os.File // a duplicate
	raw       syscall.RawConn
	accepting sync.Mutex
	closed    atomic.Bool
}

// Accept returns the next connection, a *Socket.
func (ln *Listener) Accept() (net.Conn, error) {
	ln.accepting.Lock()
	defer ln.accepting.Unlock()
	var from unix.RawSockaddrAny
	var errno syscall.Errno
	accepted := -1
	err := ln.raw.Read(func(fd uintptr) (done bool) {
		accepted, errno = acceptNow(fd, &from)
		return errno != syscall.EAGAIN
	})
	switch {
	case err == nil && errno == 0: // also if ln is closed now: the peer is connected
	case ln.closed.Load():
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	case err == nil && errno != 0:
		err = os.NewSyscallError("accept4", errno)
	}
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: ln.Addr().Network(), Addr: ln.Addr(), Err: err}
	}
	return newSocket(accepted, addrPortOf(&from)), nil
}

// SetDeadline sets the deadline of Accept.
func (ln *Listener) SetDeadline(t time.Time) error { return ln.file.SetDeadline(t) }

// Close closes the listener. Accept returns net.ErrClosed.
func (ln *Listener) Close() error {
	ln.closed.Store(true)
	ln.file.Close()
	return ln.TCPListener.Close()
}
