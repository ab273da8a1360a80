package readiness

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
	"golang.org/x/sys/unix"
)

// Poller tells when sockets become readable. It is an epoll set with one goroutine, for which
// the runtime's own poller waits as for any other descriptor. Its methods may be called
// concurrently.
type Poller struct {
	file *os.File
	raw  syscall.RawConn

	mu      sync.Mutex
	last    uint64 // ID of the last watch. IDs are not reused: a stale event finds nothing
	watches map[uint64]*Watch
}

// Watch is a socket in a Poller.
type Watch struct {
	poller *Poller
	id     uint64
	socket syscall.RawConn
	ready  func()
}

// New returns a Poller, whose goroutine runs until Close.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return newPoller(fd)
}

// newPoller returns a Poller with an epoll set, which it owns.
func newPoller(fd int) (*Poller, error) {
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), watches: make(map[uint64]*Watch)}
	// A file for which the runtime's poller cannot wait, as when the user has no watches left,
	// has no deadlines. No event would come.
	err := p.file.SetReadDeadline(time.Time{})
	if err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err != nil {
		p.file.Close()
		return nil, err
	}
	go p.run()
	return p, nil
}

// Close ends the goroutine. Watches get no events afterwards.
func (p *Poller) Close() error { return p.file.Close() }

// run calls the functions of sockets that have events, until Close.
func (p *Poller) run() {
	// All of it is in one Read: another one would look for events before it waits.
	p.raw.Read(func(fd uintptr) (done bool) {
		for p.look(int(fd)) {
		}
		return false // what comes from now on is an event of the set, for which Read waits
	})
}

// look handles some events, and reports whether there were any.
func (p *Poller) look(fd int) bool {
	var events [64]unix.EpollEvent
	n, err := unix.EpollWait(fd, events[:], 0)
	for err == unix.EINTR {
		n, err = unix.EpollWait(fd, events[:], 0)
	}
	for _, event := range events[:max(n, 0)] {
		p.mu.Lock()
		w := p.watches[uint64(uint32(event.Fd))|uint64(uint32(event.Pad))<<32]
		p.mu.Unlock()
		if w != nil {
			w.ready()
		}
	}
	return n > 0
}

// Watch calls ready each time when something has come to be read from conn: bytes, the end of
// the stream or an error. It is called in the Poller's goroutine, and must not block. The
// event is edge-triggered: none follows for bytes that are not read; see Readable. Watch
// returns nil if conn is not a bare socket, or cannot be watched.
//
// The caller calls Stop before it closes conn. A call of ready that has begun may go on.
func (p *Poller) Watch(conn net.Conn, ready func()) *Watch {
	socket := readbuf.RawConn(conn)
	if socket == nil {
		return nil
	}
	w := &Watch{poller: p, socket: socket, ready: ready}
	p.mu.Lock()
	p.last++
	w.id = p.last
	p.watches[w.id] = w
	p.mu.Unlock()
	if !p.control(unix.EPOLL_CTL_ADD, w, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET) {
		p.remove(w)
		return nil
	}
	return w
}

// Stop ends the watch.
func (w *Watch) Stop() {
	w.poller.remove(w)
	w.poller.control(unix.EPOLL_CTL_DEL, w, 0)
}

func (p *Poller) remove(w *Watch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watches, w.id)
}

// control changes the epoll set, and reports whether it could.
func (p *Poller) control(op int, w *Watch, events uint32) (done bool) {
	event := unix.EpollEvent{Events: events, Fd: int32(uint32(w.id)), Pad: int32(uint32(w.id >> 32))}
	p.raw.Control(func(set uintptr) {
		w.socket.Control(func(fd uintptr) { done = unix.EpollCtl(int(set), op, int(fd), &event) == nil })
	})
	return done
}

// Readable reports whether a read of the socket would not wait.
func (w *Watch) Readable() bool {
	c := lookups.Get().(*lookup)
	defer lookups.Put(c)
	c.readable = true // of a socket that is closed
	w.socket.Control(c.look)
	return c.readable
}

// lookup is the variables of a call of Readable. It is used again, with its func value.
type lookup struct {
	readable bool
	look     func(fd uintptr)
}

var lookups = sync.Pool{New: func() any {
	c := new(lookup)
	c.look = func(fd uintptr) {
		events, errno := netx.PollNow(fd, unix.POLLIN|unix.POLLRDHUP)
		c.readable = events != 0 || errno != 0
	}
	return c
}}
