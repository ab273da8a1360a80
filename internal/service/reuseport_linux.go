package service

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// divertsConnections reports whether divert has an effect on this system.
const divertsConnections = true

// divert has the kernel give new connections to another socket that listens on the
// address of ln with SO_REUSEPORT, if there is one. Otherwise ln still gets them. A
// connection whose handshake has begun stays with ln, so ln should be served until
// its handshakes are over.
//
// The sockets of one address are numbered in the order in which they began to listen,
// and the program, of one instruction, selects number 1: the one after ln, if ln is
// the oldest. A number that does not exist means the usual selection, by address.
func divert(ln net.Listener) error {
	return controlListener(ln, func(fd int) error {
		program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
}

// undivert ends divert for all sockets of the address: the program would outlive ln.
func undivert(ln net.Listener) error {
	return controlListener(ln, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
	})
}

// controlListener calls do with the descriptor of a TCP listener. For other listeners
// it does nothing.
func controlListener(ln net.Listener, do func(fd int) error) error {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
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
