package service

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

// sharedTCPListener listens with SO_REUSEPORT.
type sharedTCPListener struct {
	tcpListener
	elsewhere atomic.Bool // another process has the socket as well
}

// leave has Close close the descriptor alone.
func (ln *sharedTCPListener) leave(elsewhere bool) { ln.elsewhere.Store(elsewhere) }

// tcpListener is a *netx.Listener or a *net.TCPListener.
type tcpListener interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error // for its watchdog: see netx.WatchedListener
}

// asTCPListener returns ln, if it is one.
func asTCPListener(ln net.Listener) (tcp tcpListener, ok bool) {
	switch ln := netx.Sockets(ln).(type) {
	case *netx.Listener:
		return ln, true
	case *net.TCPListener:
		return ln, true
	}
	return nil, false
}

// shareListener returns ln, which listens with SO_REUSEPORT, as one that can hand over.
// It removes the program that a process which has handed over to ln's address has left
// behind: see Close.
func shareListener(ln net.Listener) net.Listener {
	tcp, ok := asTCPListener(ln)
	if !ok {
		return ln
	}
	shared := &sharedTCPListener{tcpListener: tcp}
	shared.control(func(fd int) error { // ENOENT if there is none
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
	})
	return shared
}

// divert has the kernel give new connections to another socket that listens on the
// same address with SO_REUSEPORT, if there is one. Otherwise ln still gets them. A
// connection whose handshake has begun stays with ln, so ln should be served until
// its handshakes are over.
//
// The sockets of one address are numbered in the order in which they began to listen,
// and the program, of one instruction, selects number 1: the one after ln, if ln is
// the oldest. A number that does not exist means the usual selection, by address.
func (ln *sharedTCPListener) divert() error {
	return ln.control(func(fd int) error {
		program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
}

// Close closes the listener. It stops listening with one system call, since closing the
// descriptor has to wait for the goroutine in Accept. The program of divert stays: if it
// were removed before, ln would get connections again in that moment, and reset them.
// Where one socket is left, its number 1 does not exist, and the next process that
// listens removes it.
func (ln *sharedTCPListener) Close() error {
	if !ln.elsewhere.Load() {
		ln.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) })
	}
	return ln.tcpListener.Close()
}

// control calls do with the listener's descriptor.
func (ln *sharedTCPListener) control(do func(fd int) error) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// unshared returns ln, which shareListener has returned, as one that does not hand over.
func unshared(ln net.Listener) net.Listener {
	if shared, ok := ln.(*sharedTCPListener); ok {
		return shared.tcpListener
	}
	return ln
}

// setShared sets SO_REUSEPORT of a TCP listener that listens already: whether others of
// this user may listen on the port.
func setShared(ln net.Listener, share bool) error {
	tcp, ok := ln.(tcpListener)
	if !ok || ln.Addr().Network() == "unix" {
		return errors.ErrUnsupported
	}
	value := 0
	if share {
		value = 1
	}
	return (&sharedTCPListener{tcpListener: tcp}).control(func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, value)
	})
}

// sharePort sets SO_REUSEPORT. It is a function for net.ListenConfig.Control.
func sharePort(_, _ string, raw syscall.RawConn) error {
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failed
}
