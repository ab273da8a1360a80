//go:build unix

package netx

import (
	"net"
	"sync"
	"syscall"
)

// attempt is the argument and the result of one call of RawConn.Write, which does not
// pass them on. try is made once, because each evaluation of a method value allocates.
type attempt struct {
	b   []byte
	n   int
	try func(fd uintptr) (done bool)
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.try = a.write
	return a
}}

func (a *attempt) write(fd uintptr) (done bool) {
	for {
		n, err := syscall.Write(int(fd), a.b)
		if err != syscall.EINTR {
			a.n = max(n, 0)
			return true
		}
	}
}

// tryWrite writes as much of b to a socket as that has room for, and returns how much
// that is. Other connections, and those that have failed, take nothing.
func tryWrite(conn net.Conn, b []byte) (n int) {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return 0
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil || len(b) == 0 {
		return 0
	}
	a := attempts.Get().(*attempt)
	a.b, a.n = b, 0
	raw.Write(a.try) // the write that follows returns its error again
	n = a.n
	a.b = nil
	attempts.Put(a)
	return n
}
