package splice

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lot is a place for directions that wait: sockets which nothing has come from
// for a while. All of them together have one goroutine, in Serve. A goroutine
// for each would cost more than all else that an idle connection needs.
//
// It is an epoll set of its own, which the runtime's poller waits for as for
// any other descriptor. A Lot is for any number of pairs.
type Lot struct {
	file *os.File
	raw  syscall.RawConn

	mu     sync.Mutex
	last   uint64
	places map[uint64]*direction
}

// place is a direction's number in a lot. Numbers are never used twice, so that
// an event which comes too late means nobody.
type place uint64

// NewLot returns an empty lot. Serve must run for anything in it to wake up.
func NewLot() (*Lot, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &Lot{file: os.NewFile(uintptr(fd), "epoll"), places: make(map[uint64]*direction)}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, err
	}
	return l, nil
}

// Serve wakes directions up when something comes for them, until ctx ends. What
// is parked then stays so, until its pair is aborted.
func (l *Lot) Serve(ctx context.Context) error {
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

func (l *Lot) wake(number uint64) {
	l.mu.Lock()
	d := l.places[number]
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
func (l *Lot) park(d *direction) bool {
	op := unix.EPOLL_CTL_MOD
	if d.place == 0 {
		op = unix.EPOLL_CTL_ADD
		l.mu.Lock()
		l.last++
		d.place = place(l.last)
		l.places[l.last] = d
		l.mu.Unlock()
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	setNumber(&event, uint64(d.place))
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
func (l *Lot) forget(d *direction) {
	if d.place == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.places, uint64(d.place))
	d.place = 0
}

// The number takes up the 64 bits that the kernel keeps for the caller.
func setNumber(e *unix.EpollEvent, number uint64) {
	e.Fd, e.Pad = int32(uint32(number)), int32(uint32(number>>32))
}

func numberOf(e *unix.EpollEvent) uint64 {
	return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
}
