package splice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
	"golang.org/x/sys/unix"
)

// Poller is where directions wait whose source has sent nothing for a while, and
// connections in Await. What little comes then, its goroutines move by themselves, see
// mover, and those of directions that move bulk help. A goroutine for each direction
// would take more memory than the rest of an idle connection, and more time to wake
// than a short message takes to move.
//
// A Poller has an epoll set for each processor, with one goroutine, in Serve. The
// runtime's own poller waits for the sets as for any other descriptors. One Poller
// serves any number of pairs, concurrently.
type Poller struct {
	// Go runs the functions of Await, for which a goroutine with a grown stack is
	// better than a new one. Nil means a new one. It is set before Serve.
	Go func(func())

	sets []*pollSet

	// See bundle.
	all     *os.File
	rawAll  syscall.RawConn
	lookAll func(all uintptr) // helpSets as a func value: making one allocates

	quiet atomic.Uint32 // calls of help since there was an event
}

// pollSet is one epoll set.
type pollSet struct {
	poller *Poller
	file   *os.File
	raw    syscall.RawConn
	assist func(fd uintptr) // help as a func value

	mu      sync.Mutex
	waiters waiters
}

// waiter is a direction that is parked, or an awaiting.
type waiter interface {
	// wake is called when the socket has events, in serve's goroutine or in those that
	// help, several of them at the same time. It must not block.
	wake(events uint32, m *mover)
}

// NewPoller returns an empty Poller. It wakes nothing until Serve runs.
func NewPoller() (*Poller, error) {
	p := &Poller{}
	p.quiet.Store(quietLooks)
	for range runtime.GOMAXPROCS(0) {
		set, err := newPollSet(p)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("epoll: %w", err)
		}
		p.sets = append(p.sets, set)
	}
	if err := p.bundle(); err != nil {
		p.close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return p, nil
}

func newPollSet(p *Poller) (*pollSet, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s := &pollSet{poller: p, file: os.NewFile(uintptr(fd), "epoll")}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	s.assist = s.help
	return s, nil
}

func (p *Poller) close() {
	p.all.Close()
	for _, s := range p.sets {
		s.file.Close()
	}
}

// setOf returns the set for a socket, always the same.
func (p *Poller) setOf(socket syscall.RawConn) *pollSet {
	c := epollCalls.Get().(*epollCall)
	c.fd = 0 // for a socket that is closed
	socket.Control(c.note)
	fd := c.fd
	epollCalls.Put(c)
	return p.sets[fd%uintptr(len(p.sets))]
}

// Serve wakes parked directions when their sources become readable, until ctx
// ends or epoll fails, and closes the epoll sets. Directions that are parked by then
// stay parked until their pairs are aborted. Serve may be called once.
func (p *Poller) Serve(ctx context.Context) error {
	ended := make(chan error, len(p.sets))
	for _, s := range p.sets {
		go func() { ended <- s.serve() }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
		ended <- nil
	}
	p.close()
	for range p.sets {
		<-ended
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// serve returns when the set is closed, or epoll fails.
func (s *pollSet) serve() error {
	var errno syscall.Errno
	// All of it is in one Read: another one would look for events before it waits,
	// and there are none.
	closed := s.raw.Read(func(fd uintptr) (done bool) {
		for more := true; more; {
			if more, errno = s.look(fd, pollBatch); errno != 0 {
				return true
			}
		}
		// What comes from now on is an event of the set itself, which Read has
		// noticed when it waits.
		return false
	})
	if errno != 0 {
		return fmt.Errorf("epoll: %w", errno)
	}
	return closed
}

// look wakes the waiters of up to most events, and reports whether there may be more.
func (s *pollSet) look(fd uintptr, most int) (more bool, errno syscall.Errno) {
	var events [max(pollBatch, helpBatch)]unix.EpollEvent
	n, errno := pollEvents(fd, events[:most])
	if n == 0 {
		return false, errno
	}
	if s.poller.quiet.Load() > 0 {
		s.poller.quiet.Store(0)
	}
	m := movers.Get().(*mover)
	defer movers.Put(m)
	for i := range events[:n] {
		s.wake(&events[i], m)
	}
	return n == most, 0
}

func (s *pollSet) wake(event *unix.EpollEvent, m *mover) {
	s.mu.Lock()
	w := s.waiters.get(idOf(event))
	s.mu.Unlock()
	if w != nil {
		w.wake(event.Events, m)
	}
}

// add adds a waiter.
func (s *pollSet) add(w waiter) waiterID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiters.add(w)
}

// remove removes a waiter. Its socket leaves the epoll set when it is closed.
func (s *pollSet) remove(id waiterID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters.remove(id)
}

// control changes the epoll set, and reports whether it could. The socket's events
// may wake the waiter before control returns.
func (s *pollSet) control(op int, socket syscall.RawConn, events uint32, id waiterID) (done bool) {
	c := epollCalls.Get().(*epollCall)
	c.op, c.socket, c.event, c.done = op, socket, unix.EpollEvent{Events: events}, false
	setID(&c.event, id)
	s.raw.Control(c.inSet)
	done = c.done
	c.socket = nil
	epollCalls.Put(c)
	return done
}

// epollCall is the variables of a call with the descriptors of a set and a socket. It is used
// again, with its func values: the calls of an upgrade would be most of its garbage.
type epollCall struct {
	op      int
	set, fd uintptr
	socket  syscall.RawConn
	event   unix.EpollEvent
	done    bool

	inSet, onSocket, note func(fd uintptr)
}

var epollCalls = sync.Pool{New: func() any {
	c := new(epollCall)
	c.inSet = func(set uintptr) {
		c.set = set
		c.socket.Control(c.onSocket)
	}
	c.onSocket = func(fd uintptr) { c.done = unix.EpollCtl(int(c.set), c.op, int(fd), &c.event) == nil }
	c.note = func(fd uintptr) { c.fd = fd }
	return c
}}

// parkedEvents are the events that wake a parked direction. They are edge-triggered:
// the socket stays in the set while the poller's goroutine moves what has come, and
// after that, without another system call. The end of the stream has an event of its
// own, because a read that returns bytes does not show it. Neither does one show what
// comes behind urgent data, at which it stops: that is for a goroutine.
const parkedEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET

// park makes the next event of d's source wake d, also one before the call, and
// reports whether it could. Under the pair's mu, for which wake then waits.
func (p *Poller) park(d *direction) bool {
	if d.waiter != 0 {
		return d.set.control(unix.EPOLL_CTL_MOD, d.src, parkedEvents, d.waiter)
	}
	d.set = p.setOf(d.src)
	d.waiter = d.set.add(d)
	// The socket is in the set already if it was in another pair before.
	return d.set.control(unix.EPOLL_CTL_ADD, d.src, parkedEvents, d.waiter) ||
		d.set.control(unix.EPOLL_CTL_MOD, d.src, parkedEvents, d.waiter)
}

// mute keeps the events of d's source from its set until d is parked again.
func (d *direction) mute() { d.set.control(unix.EPOLL_CTL_MOD, d.src, unix.EPOLLET, d.waiter) }

// beingWoken is a bit of direction.events, and no event.
const beingWoken = 1 << 31

// wakeRounds is how often wake moves what has come before it leaves a direction of
// which the peer does not stop to a goroutine.
const wakeRounds = 8

// wake moves what has come, or starts a goroutine that does. Of several calls at the same
// time one does it for all.
func (d *direction) wake(events uint32, m *mover) {
	if d.events.Or(events|beingWoken)&beingWoken != 0 {
		return
	}
	for round := 1; ; round++ {
		if events = d.events.And(beingWoken) &^ beingWoken; events != 0 {
			d.wakeFor(events, m)
		} else if d.events.CompareAndSwap(beingWoken, 0) {
			return
		}
		if round == wakeRounds {
			d.pair.mu.Lock()
			if !d.watching {
				d.unpark()
			}
			d.pair.mu.Unlock()
		}
	}
}

// wakeFor is wake for one set of events, in one goroutine at a time.
func (d *direction) wakeFor(events uint32, m *mover) {
	d.pair.mu.Lock()
	if d.watching && d.parked && d.noticeReset(events) {
		d.pair.startGo(d.pair.finish)
	}
	parked := d.parked && !d.watching
	if parked {
		d.parked = false
	}
	d.pair.mu.Unlock()
	if !parked { // it has a goroutine, is paused, or its stream has ended
		return
	}
	var err error = errFallback // errors are for a goroutine
	// EPOLLHUP without an error: the stream to the peer has ended, too.
	switch events &^ unix.EPOLLHUP {
	case unix.EPOLLIN:
		err = m.move(d)
	case unix.EPOLLIN | unix.EPOLLRDHUP, unix.EPOLLRDHUP:
		// The end comes after what has come before, in one read or two.
		err = nil
		for i := 0; i < 4 && err == nil; i++ {
			err = m.move(d)
		}
		if err == nil {
			err = errFallback
		}
	}
	switch {
	case err == io.EOF:
		if d.pair.endParked(d) {
			d.pair.startGo(d.pair.finish)
		}
		return
	case err == nil && d.stay():
		return
	}
	d.mute()
	if delay, paused := err.(pauseFor); paused && d.pause(time.Duration(delay)) {
		return
	}
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	d.startGoroutine()
}

// stay parks the direction after wake has unparked it, unless it must continue.
func (d *direction) stay() bool {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if d.pair.over.Load() || d.pair.failed.Load() {
		return false
	}
	if d.flow.Parked != nil {
		d.flow.Parked()
	}
	if d.pair.suspending.Load() {
		d.halt()
		d.pair.checkSuspended()
		return true
	}
	d.parked = true
	if d.lingering.Load() {
		d.lingerParked()
	}
	return true
}

// leave takes d's source out of its set, which would have events for it as long as any
// process has the socket. Under the pair's mu.
func (p *Poller) leave(d *direction) {
	if d.waiter != 0 {
		d.set.control(unix.EPOLL_CTL_DEL, d.src, 0, d.waiter)
		p.unregister(d)
	}
}

// unregister removes d, of which the pair has ended. Under the pair's mu.
func (p *Poller) unregister(d *direction) {
	if d.waiter != 0 {
		d.set.remove(d.waiter)
		d.waiter = 0
	}
}

// Await calls ready, once, when there is something to read from conn: bytes, the
// end of the stream or an error. ready has a goroutine, which it may block. Await returns
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
	start := func(f func()) { go f() }
	if p.Go != nil {
		start = p.Go
	}
	w := &awaiting{ready: func() { start(ready) }}
	return p.add(socket, events, w)
}

// add makes the first of events, an error or the end of both streams wake w.
func (p *Poller) add(socket syscall.RawConn, events uint32, w *awaiting) (stop func(), ok bool) {
	set := p.setOf(socket)
	id := set.add(w)
	stop = func() {
		w.done.Store(true)
		set.remove(id)
		set.control(unix.EPOLL_CTL_DEL, socket, 0, id)
	}
	if !set.control(unix.EPOLL_CTL_ADD, socket, events|unix.EPOLLONESHOT, id) {
		set.remove(id)
		return nil, false
	}
	return stop, true
}

// awaiting is a connection in Await, AwaitEnd or awaitWritable.
type awaiting struct {
	ready func()      // must not block
	done  atomic.Bool // ready was called, or must not be
}

func (w *awaiting) wake(uint32, *mover) {
	if w.done.CompareAndSwap(false, true) {
		w.ready()
	}
}

// Connect opens a TCP connection to an address without zone: see netx.Connect. It
// returns errors.ErrUnsupported if p is nil.
func (p *Poller) Connect(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	if p == nil {
		return nil, errors.ErrUnsupported
	}
	s, err := netx.Connect(ctx, address, p.awaitWritable)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// awaitWritable returns when s can be written to, has failed, or is closed by its peer,
// or with ctx's error when ctx ends.
func (p *Poller) awaitWritable(ctx context.Context, s *netx.Socket) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	writable := make(chan struct{})
	stop, ok := p.add(raw, unix.EPOLLOUT, &awaiting{ready: func() { close(writable) }})
	if !ok {
		return fmt.Errorf("epoll: %w", unix.ENOSPC) // watches: all else would be a mistake
	}
	defer stop()
	select {
	case <-writable:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// setID stores id in the 64 bits of an event that epoll returns unchanged.
func setID(e *unix.EpollEvent, id waiterID) {
	e.Fd, e.Pad = int32(uint32(id)), int32(uint32(id>>32))
}

func idOf(e *unix.EpollEvent) waiterID {
	return waiterID(uint32(e.Fd)) | waiterID(uint32(e.Pad))<<32
}
