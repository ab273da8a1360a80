package splice

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Poller is a place for directions that wait: sockets which nothing has come from
// for a while. All of them together have one goroutine, in Serve. A goroutine
// for each would cost more than all else that an idle connection needs.
//
// It is an epoll set of its own, which the runtime's poller waits for as for
// any other descriptor. A Poller is for any number of pairs.
type Poller struct {
	file *os.File
	raw  syscall.RawConn

	mu      sync.Mutex
	last    uint64
	waiters map[uint64]*direction
}

// place is a direction's number in a poller. Numbers are never used twice, so that
// an event which comes too late means nobody.
type waiterID uint64

// NewPoller returns an empty poller. Serve must run for anything in it to wake up.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &Poller{file: os.NewFile(uintptr(fd), "epoll"), waiters: make(map[uint64]*direction)}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, err
	}
	return l, nil
}

// Serve wakes directions up when something comes for them, until ctx ends. What
// is parked then stays so, until its pair is aborted.
func (l *Poller) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { l.file.Close() })
	defer stop()
	var events [128]unix.EpollEvent
	for {
		var n int
		var err error
		ended := l.raw.Read(func(fd uintptr) bool {
			for n, err = unix.EpollWait(int(fd), events[:], 0); err == unix.EINTR; {
				n, err = unix.EpollWait(int(fd), events[:], 0)
			}
			return n > 0 || err != nil
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case ended != nil:
			return ended
		case err != nil:
			return fmt.Errorf("epoll: %w", err)
		}
		for i := range events[:n] {
			l.wake(numberOf(&events[i]))
		}
	}
}

func (l *Poller) wake(number uint64) {
	l.mu.Lock()
	d := l.waiters[number]
	l.mu.Unlock()
	if d == nil {
		return
	}
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	d.unpark()
}

// park lets d wait, for one event. It may come before park returns. Under the
// pair's mu.
func (l *Poller) park(d *direction) bool {
	op := unix.EPOLL_CTL_MOD
	if d.waiter == 0 {
		op = unix.EPOLL_CTL_ADD
		l.mu.Lock()
		l.last++
		d.waiter = waiterID(l.last)
		l.waiters[l.last] = d
		l.mu.Unlock()
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	setNumber(&event, uint64(d.waiter))
	added := false
	l.raw.Control(func(set uintptr) {
		d.src.Control(func(fd uintptr) {
			added = unix.EpollCtl(int(set), op, int(fd), &event) == nil
		})
	})
	return added
}

// forget takes d out of the books. Its socket leaves the set when it is
// closed. Under the pair's mu.
func (l *Poller) remove(d *direction) {
	if d.waiter == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiters, uint64(d.waiter))
	d.waiter = 0
}

// The number takes up the 64 bits that the kernel keeps for the caller.
func setNumber(e *unix.EpollEvent, number uint64) {
	e.Fd, e.Pad = int32(uint32(number)), int32(uint32(number>>32))
}

func numberOf(e *unix.EpollEvent) uint64 {
	return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
}
