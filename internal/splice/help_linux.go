package splice

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Help: directions that move bulk look for the messages of others, and move them. For
// Serve's goroutines the scheduler has a processor too seldom then, and for their threads
// the kernel: it has run those for the bulk, and lets others catch up.

const (
	// pollBatch is how many events a goroutine of Serve takes at a time, helpBatch
	// how many one that helps. What is taken waits while another thread runs in place
	// of this one; what is not, some other goroutine finds.
	pollBatch = 16
	helpBatch = 2

	// helpRounds is how many batches one that helps takes from a set at most.
	helpRounds = 16

	// quietLooks is how many looks without a message end a chat. At full speed they
	// take 50 ms or more.
	quietLooks = 1024
)

// movers are those of goroutines that move messages now.
var movers = sync.Pool{New: func() any { return new(mover) }}

// bundle makes all, an epoll set of the sets: one system call finds those that have
// events. The runtime's poller does not wait for it.
func (p *Poller) bundle() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	p.all = os.NewFile(uintptr(fd), "epoll")
	if p.rawAll, err = p.all.SyscallConn(); err != nil {
		return err
	}
	p.lookAll = p.helpSets
	for i, s := range p.sets {
		s.raw.Control(func(set uintptr) {
			err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, int(set), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// help does some of the work of Serve's goroutines. It is called by a goroutine that
// moves bulk: see rest.
func (p *Poller) help() {
	p.quiet.Add(1)
	p.rawAll.Control(p.lookAll)
}

// chatting reports whether messages have come lately.
func (p *Poller) chatting() bool { return p.quiet.Load() < quietLooks }

// helpSets helps the sets that have events, or some of them if they are many.
func (p *Poller) helpSets(all uintptr) {
	var ready [8]unix.EpollEvent
	n, _ := pollEvents(all, ready[:])
	for i := range ready[:n] {
		set := p.sets[ready[i].Fd]
		set.raw.Control(set.assist)
	}
}

// help moves what has come in a set.
func (s *pollSet) help(fd uintptr) {
	for range helpRounds {
		if more, errno := s.look(fd, helpBatch); !more || errno != 0 {
			return
		}
	}
}
