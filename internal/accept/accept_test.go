package accept

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
)

// wanting is a listener that fails with each of the errors, then accepts one
// connection, and is closed.
type wanting struct {
	net.Listener
	errs []error
}

func (w *wanting) Accept() (net.Conn, error) {
	err := w.errs[0]
	if w.errs = w.errs[1:]; err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	conn, _ := net.Pipe()
	return conn, nil
}

// "When there are no descriptors or no memory for another connection": what
// each of a system's limits says. ENOSPC is epoll's, of which every socket takes
// up a place: /proc/sys/fs/epoll/max_user_watches.
func TestWantOfSomethingPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wants := []error{
			os.NewSyscallError("accept4", syscall.EMFILE), os.NewSyscallError("accept4", syscall.ENFILE),
			os.NewSyscallError("accept4", syscall.ENOMEM), os.NewSyscallError("accept4", syscall.ENOBUFS),
			syscall.ENOMEM, syscall.ENOSPC,
		}
		accepted, delays := 0, 0
		err := Each(t.Context(), &wanting{errs: append(wants, nil, net.ErrClosed)},
			func(net.Conn) { accepted++ }, func(error) { delays++ })
		if !errors.Is(err, net.ErrClosed) || accepted != 1 || delays != len(wants) {
			t.Errorf("%d connections and %d delays, and then %v", accepted, delays, err)
		}
	})
}
