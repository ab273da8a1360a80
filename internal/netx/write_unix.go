//go:build unix

package netx

import (
	"net"
	"os"
	"sync"
	"syscall"
)

// attempt is the argument and the result of one call of RawConn.Write, which does not
// pass them on. try is made once, because each evaluation of a method value allocates.
type attempt struct {
	b   []byte
	n   int
	err error
	try func(fd uintptr) (done bool)
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.try = a.write
	return a
}}

func (a *attempt) write(fd uintptr) (done bool) {
	a.n, a.err = WriteSocket(fd, a.b)
	return true
}

// tryWrite writes as much of b to a socket as that has room for, and returns how much
// that is. Other connections take nothing. The error is the socket's, which the kernel
// reports only once.
func tryWrite(conn net.Conn, b []byte) (n int, err error) {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn, *Socket:
	default:
		return 0, nil
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil || len(b) == 0 {
		return 0, nil // Write returns the error
	}
	a := attempts.Get().(*attempt)
	a.b, a.n, a.err = b, 0, nil
	raw.Write(a.try) // its own error is Write's as well
	n, err = a.n, a.err
	a.b, a.err = nil, nil
	attempts.Put(a)
	if err == nil || err == syscall.EAGAIN {
		return n, nil
	}
	return n, &net.OpError{Op: "write", Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError("write", err)}
}
