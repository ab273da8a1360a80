package splice

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Responds returns nil when each goroutine of Serve has been woken for an event of its own,
// or the cause of ctx's end if that is before: then one is blocked, and idle connections of
// its set are not served.
func (p *Poller) Responds(ctx context.Context) error {
	for _, set := range p.sets {
		if err := set.responds(ctx); err != nil {
			return err
		}
	}
	return nil
}

// responds is Responds for one set.
func (s *pollSet) responds(ctx context.Context) error {
	fd, err := unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) // which is readable at once
	if err != nil {
		return os.NewSyscallError("eventfd2", err)
	}
	file := os.NewFile(uintptr(fd), "eventfd")
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	woken := make(chan struct{})
	id := s.add(&awaiting{ready: func() { close(woken) }})
	defer s.remove(id)
	if !s.control(unix.EPOLL_CTL_ADD, raw, unix.EPOLLIN|unix.EPOLLONESHOT, id) {
		return errors.New("epoll_ctl: an event cannot be watched")
	}
	select {
	case <-woken:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
