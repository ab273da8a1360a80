package netx

import (
	"context"
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

// slowCloser has no more to give as soon as Close begins, which takes a while.
type slowCloser struct {
	begun, end chan struct{}
	closed     bool
}

func (c *slowCloser) Close() error {
	close(c.begun)
	<-c.end
	c.closed = true
	return nil
}

// The stop of CloseAfter returns when a Close that has begun has ended, and closes nothing
// otherwise.
func TestCloseAfterWaitsForClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &slowCloser{begun: make(chan struct{}), end: make(chan struct{})}
		stop := CloseAfter(ctx, c)
		cancel()
		<-c.begun // Accept would return now
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("stop returns before Close")
		default:
		}
		close(c.end)
		if <-stopped; !c.closed {
			t.Error("stop returns before Close has ended")
		}
	})
	never := &slowCloser{begun: make(chan struct{})}
	CloseAfter(t.Context(), never)()
	select {
	case <-never.begun:
		t.Error("closed without the end of the context")
	default:
	}
}
