package splice

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mtwire/mtwire/internal/readbuf"
	"golang.org/x/sys/unix"
)

// Poller is an epoll set in which directions wait whose source has sent nothing
// for a while, and connections in Await. One goroutine, in Serve, waits for all of
// them: a goroutine for each would take more memory than the rest of an idle
// connection.
//
// The runtime's own poller waits for the set as for any other descriptor. One
// Poller serves any number of pairs, concurrently.
type Poller struct {
	file *os.File
	raw  syscall.RawConn

	mu      sync.Mutex
	last    waiterID
	waiters map[waiterID]waiter
}

// waiterID identifies a waiter. IDs are never reused, so a stale epoll event
// matches nothing. 0 is no ID.
type waiterID uint64

// waiter is a direction that is parked, or an awaiting.
type waiter interface {
	// wake is called in Serve's goroutine when the socket has the event.
	wake()
}

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
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), waiters: make(map[waiterID]waiter)}
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
	w := p.waiters[id]
	p.mu.Unlock()
	if w != nil {
		w.wake()
	}
}

// add adds a waiter.
func (p *Poller) add(w waiter) waiterID {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.waiters[p.last] = w
	return p.last
}

// remove removes a waiter. Its socket leaves the epoll set when it is closed.
func (p *Poller) remove(id waiterID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiters, id)
}

// control changes the epoll set, and reports whether it could. The next of the
// socket's events, or its reset, wakes the waiter, once, perhaps before control
// returns.
func (p *Poller) control(op int, socket syscall.RawConn, events uint32, id waiterID) (done bool) {
	event := unix.EpollEvent{Events: events | unix.EPOLLONESHOT}
	setID(&event, id)
	p.raw.Control(func(set uintptr) {
		socket.Control(func(fd uintptr) {
			done = unix.EpollCtl(int(set), op, int(fd), &event) == nil
		})
	})
	return done
}

// park makes the next event of d's source wake d, and reports whether it could.
// Under the pair's mu, for which wake then waits.
func (p *Poller) park(d *direction) bool {
	if d.waiter != 0 {
		return p.control(unix.EPOLL_CTL_MOD, d.src, unix.EPOLLIN, d.waiter)
	}
	d.waiter = p.add(d)
	return p.control(unix.EPOLL_CTL_ADD, d.src, unix.EPOLLIN, d.waiter)
}

func (d *direction) wake() {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	d.unpark()
}

// unregister removes d, of which the pair has ended. Under the pair's mu.
func (p *Poller) unregister(d *direction) {
	if d.waiter != 0 {
		p.remove(d.waiter)
		d.waiter = 0
	}
}

// Await calls ready, once, when there is something to read from conn: bytes, the
// end of the stream or an error. ready has a goroutine of its own. Await returns
// false, and does nothing, if p is nil or conn is not a bare socket.
//
// The caller calls stop before it uses conn in another way. ready is not called
// afterwards, but a call that has begun may go on.
func (p *Poller) Await(conn net.Conn, ready func()) (stop func(), ok bool) {
	return p.await(conn, unix.EPOLLIN, ready)
}

// AwaitEnd is Await, but calls ready when conn is reset or, if halfClose is true,
// when its peer has ended its stream, whatever there is to read before that.
func (p *Poller) AwaitEnd(conn net.Conn, halfClose bool, ready func()) (stop func(), ok bool) {
	if halfClose {
		return p.await(conn, unix.EPOLLRDHUP, ready)
	}
	return p.await(conn, 0, ready)
}

func (p *Poller) await(conn net.Conn, events uint32, ready func()) (stop func(), ok bool) {
	socket := readbuf.RawConn(conn)
	if p == nil || socket == nil {
		return nil, false
	}
	w := &awaiting{ready: ready}
	id := p.add(w)
	stop = func() {
		w.done.Store(true)
		p.remove(id)
		p.control(unix.EPOLL_CTL_DEL, socket, 0, id)
	}
	if !p.control(unix.EPOLL_CTL_ADD, socket, events, id) {
		p.remove(id)
		return nil, false
	}
	return stop, true
}

// awaiting is a connection in Await or AwaitEnd.
type awaiting struct {
	ready func()
	done  atomic.Bool // ready was called, or must not be
}

func (w *awaiting) wake() {
	if w.done.CompareAndSwap(false, true) {
		go w.ready()
	}
}

// setID stores id in the 64 bits of an event that epoll returns unchanged.
func setID(e *unix.EpollEvent, id waiterID) {
	e.Fd, e.Pad = int32(uint32(id)), int32(uint32(id>>32))
}

func idOf(e *unix.EpollEvent) waiterID {
	return waiterID(uint32(e.Fd)) | waiterID(uint32(e.Pad))<<32
}
