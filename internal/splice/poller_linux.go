package splice

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Poller is an epoll set in which directions wait whose source has sent nothing
// for a while. One goroutine, in Serve, waits for all of them: a goroutine for each
// would take more memory than the rest of an idle connection.
//
// The runtime's own poller waits for the set as for any other descriptor. One
// Poller serves any number of pairs, concurrently.
type Poller struct {
	file *os.File
	raw  syscall.RawConn

	mu      sync.Mutex
	last    waiterID
	waiters map[waiterID]*direction
}

// waiterID identifies a parked direction. IDs are never reused, so a stale epoll
// event matches nothing. 0 is no ID.
type waiterID uint64

// NewPoller returns an empty Poller. It wakes nothing until Serve runs.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), waiters: make(map[waiterID]*direction)}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	return p, nil
}

// Serve wakes parked directions when their sources become readable, until ctx
// ends or epoll fails. Directions that are parked by then stay parked until their
// pairs are aborted. Serve may be called once.
func (p *Poller) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { p.file.Close() })
	defer stop()
	var events [128]unix.EpollEvent
	for {
		var n int
		var err error
		ended := p.raw.Read(func(fd uintptr) bool {
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
			p.wake(idOf(&events[i]))
		}
	}
}

func (p *Poller) wake(id waiterID) {
	p.mu.Lock()
	d := p.waiters[id]
	p.mu.Unlock()
	if d == nil {
		return
	}
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	d.unpark()
}

// park makes the next event of d's source wake d, once, and reports whether it
// could. The event may come before park returns. Under the pair's mu, for which
// wake then waits.
func (p *Poller) park(d *direction) bool {
	op := unix.EPOLL_CTL_MOD
	if d.waiter == 0 {
		op = unix.EPOLL_CTL_ADD
		p.mu.Lock()
		p.last++
		d.waiter = p.last
		p.waiters[p.last] = d
		p.mu.Unlock()
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	setID(&event, d.waiter)
	added := false
	p.raw.Control(func(set uintptr) {
		d.src.Control(func(fd uintptr) {
			added = unix.EpollCtl(int(set), op, int(fd), &event) == nil
		})
	})
	return added
}

// remove drops d from the waiters. Its socket leaves the epoll set when it is
// closed. Under the pair's mu.
func (p *Poller) remove(d *direction) {
	if d.waiter == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiters, d.waiter)
	d.waiter = 0
}

// setID stores id in the 64 bits of an event that epoll returns unchanged.
func setID(e *unix.EpollEvent, id waiterID) {
	e.Fd, e.Pad = int32(uint32(id)), int32(uint32(id>>32))
}

func idOf(e *unix.EpollEvent) waiterID {
	return waiterID(uint32(e.Fd)) | waiterID(uint32(e.Pad))<<32
}
