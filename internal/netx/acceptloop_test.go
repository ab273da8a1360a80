package netx

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
)

// failing is a listener that fails with each of the errors, then accepts one
// connection, and is closed.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	err := f.errs[0]
	if f.errs = f.errs[1:]; err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	conn, _ := net.Pipe()
	return conn, nil
}

// Each system limit is waited out. ENOSPC is epoll's, in which every socket has a
// watch: /proc/sys/fs/epoll/max_user_watches.
func TestShortagesAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shortages := []error{
			os.NewSyscallError("accept4", syscall.EMFILE), os.NewSyscallError("accept4", syscall.ENFILE),
			os.NewSyscallError("accept4", syscall.ENOMEM), os.NewSyscallError("accept4", syscall.ENOBUFS),
			syscall.ENOMEM, syscall.ENOSPC,
		}
		accepted, delays := 0, 0
		err := AcceptLoop(t.Context(), &failing{errs: append(shortages, nil, net.ErrClosed)},
			func(net.Conn) { accepted++ }, func(error) { delays++ })
		if !errors.Is(err, net.ErrClosed) || accepted != 1 || delays != len(shortages) {
			t.Errorf("%d connections and %d delays, and then %v", accepted, delays, err)
		}
	})
}
