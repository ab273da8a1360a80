package main

import (
	"net"
	"syscall"
)

// canStartBulkLoad reports whether startBulkLoad can pass a socket to a process.
const canStartBulkLoad = true

// dontBlock makes the socket of ln non-blocking.
func dontBlock(ln *net.TCPListener) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = syscall.SetNonblock(int(fd), true) }); err != nil {
		return err
	}
	return failed
}
