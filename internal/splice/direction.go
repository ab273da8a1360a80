package splice

import (
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/readbuf"
)

// Flow is one direction: bytes read from Src are written to Dst.
//
// Without Transform, Framing and Inspect, the kernel moves the bytes (splice) if
// both are bare sockets. With Framing alone, one readv puts them between the
// headers they are written with. Otherwise they are copied through a buffer that
// is borrowed only while there are bytes.
//
// The functions are optional, and are called from one goroutine at a time. They must
// not block: a Poller's goroutine calls them, for which other connections wait.
type Flow struct {
	Dst, Src net.Conn

	// First is written ahead of the bytes from Src, without Transform and Inspect.
	// The flow owns it.
	First []byte

	// Transform changes b, which was read, in place and returns how many bytes
	// from the front of b to write. If it returns an error, those are still
	// written, and then the direction ends with the error.
	Transform func(b []byte) (n int, err error)

	// Framing inserts headers into the stream.
	Framing *Framing

	// Inspect is called with the bytes that are about to be written, without
	// headers, until it returns false. It must not keep or change b.
	Inspect func(b []byte) (more bool)

	// NoBytes is called when the stream of Src ends before its first byte, unless
	// the other direction has ended. If it returns an error, the pair ends with
	// it, as with an error of Src, and Dst is not half-closed.
	NoBytes func() error

	// Parked is called before the direction is parked in the Poller, so that
	// state which Transform needs only while bytes move can be dropped. The pair
	// is locked meanwhile: Parked must not call Abort.
	Parked func()

	// Holds is called with true after each read that has brought bytes, before
	// they are written, and with false when all of them are written. In between
	// the direction may wait for the destination, and reads nothing.
	Holds func(bytes bool)

	// Moved is called with the number of bytes after each write. Headers do not
	// count, here as in Result.
	Moved func(n int)

	// Delay is called after Moved, before the direction reads on, with the number
	// of bytes that were written since it last read: with splice that may be the
	// sum of several Moved. A positive result pauses the direction for that long. After
	// the pause Delay is called with 0, and a positive result is another pause.
	//
	// A paused direction has neither goroutine nor buffer nor pipe. Its source is
	// not watched: bytes, the end of the stream and a reset are noticed after the
	// pause. The other direction continues. Abort, or an error in the other
	// direction, ends a pause at once.
	Delay func(n int) time.Duration
}

// direction is a Flow of a Pair. It has a goroutine while there are many bytes and for
// Config.Idle after; then it is parked, and the Poller moves short messages. See also
// pause.
type direction struct {
	pair  *Pair
	flow  Flow
	src   syscall.RawConn // nil if Src is not a bare socket
	dst   syscall.RawConn // nil if Dst is not a bare socket
	bytes atomic.Int64
	watch *writeWatch // of its goroutine; nil without a Config.WriteTimeout

	// Owned by the goroutine.
	frames   cutter
	rearm    time.Duration // when to renew the read deadline, since epoch; 0: now
	most     int32         // bytes of the next read; see limitRead
	turn     int32         // bytes that were moved since the last yield
	refusal  error         // why there is no splice, until copy has read bytes; see fallBack
	left     *leftover
	sender   *sender // of this transfer, nil before its first write
	bulk     bool    // see batch
	waited   bool    // a write of this batch has waited for the destination
	waits    uint8   // batches without a break that have, up to 2
	noSplice bool
	noPark   bool
	cut      bool // a write failed, and bytes are lost
	noRaw    bool // a sandbox refuses recv(2) or send(2)

	events atomic.Uint32 // of src, that wake has not seen to yet, and beingWoken

	lingering atomic.Bool // the other direction has ended
	closing   atomic.Bool // the destination is half-closed, or will be in a moment

	// Guarded by the pair's mu.
	parked   bool
	watching bool // its stream has ended, and watchForReset waits
	holding  bool // limitHold has set the read deadline
	ended    bool
	// See suspend.go.
	suspended bool        // it has stopped
	kicked    bool        // its watchForReset was woken
	set       *pollSet    // of the poller, nil before the first park
	waiter    waiterID    // in set
	paused    *time.Timer // nil unless in a pause
	lingers   *time.Timer // ends the linger of a parked direction; nil before there is one
	err       error
}

func (d *direction) prepare(p *Pair, f Flow) {
	d.pair, d.flow = p, f
	d.frames.Framing = f.Framing
	d.src, d.dst = readbuf.RawConn(f.Src), readbuf.RawConn(f.Dst)
}

// start parks the direction until its first bytes come or, where that is not
// possible, starts its goroutine.
func (d *direction) start() {
	if d.pair.config.Poller == nil || d.src == nil || len(d.flow.First) > 0 || !d.park() {
		go d.run()
	}
}

// run copies until the direction has ended, or is parked or paused.
func (d *direction) run() {
	if d.watch == nil && d.pair.config.WriteTimeout > 0 {
		d.watch = &writeWatch{d: d}
	}
	for {
		d.rearm = 0
		err := d.transfer()
		delay, paused := err.(pauseFor)
		switch {
		case err == errFallback:
		case d.suspend(err):
			return
		case err == errSuspend: // not any more
		case paused:
			if d.pause(time.Duration(delay)) {
				return
			}
		case !netx.IsTimeout(err) || d.late():
			d.pair.end(d, err)
			return
		case d.park():
			return
		}
	}
}

// late reports whether a timeout ends the direction. If not, it was the deadline
// of arm, which only a wait for the next bytes of a socket has.
func (d *direction) late() bool {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if d.pair.over.Load() || d.cut {
		return true
	}
	if d.lingering.Load() {
		return !time.Now().Before(d.pair.until)
	}
	return d.src == nil
}

// errFallback ends a transfer whose remaining bytes another one must move. No
// bytes are lost.
var errFallback = errors.New("fall back to another way of copying")

// fallBack makes copy move the bytes from now on. err is why splice(2) or readv(2)
// cannot, and no bytes were taken from the source: a sandbox may refuse a system
// call with any error. If err is the socket's own error, which the kernel reports
// only once, copy reads the end of the stream instead: see endOfStream.
func (d *direction) fallBack(err error) error {
	d.noSplice, d.refusal = true, err
	return errFallback
}

// spliceError adds the addresses of conn to err.
func spliceError(conn net.Conn, err error) error {
	return &net.OpError{Op: "splice", Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: err}
}

// leftover is what a Poller's goroutine leaves to the direction's own.
type leftover struct {
	read    []byte // was read from the source, and is too short for a body
	out     []byte // to be written, headers included
	bodies  int    // bytes of out without the headers
	delayed int    // bytes for Flow.Delay, once out is written
	err     error  // ends the direction afterwards
	cut     bool   // err is a write's
}

// takeLeft does what is left. It returns bytes that were read from the source.
func (d *direction) takeLeft() (read []byte, err error) {
	l := d.left
	if l == nil {
		return nil, nil
	}
	d.left = nil
	if len(l.out) > 0 {
		n, err := d.writeOnce(l.out)
		if err != nil {
			d.moved(min(n, l.bodies))
			d.cut = true
			return nil, err
		}
		d.moved(l.bodies)
	}
	if l.err != nil {
		d.cut = l.cut
		return nil, l.err
	}
	if len(l.read) > 0 {
		return l.read, nil
	}
	return nil, d.delayed(l.delayed)
}

// transfer copies in the cheapest way that the flow allows. It returns nil at the
// end of the stream, a timeout after a wait without bytes, errFallback or a
// pauseFor.
func (d *direction) transfer() error {
	defer func() { d.sender = nil }()
	early, err := d.takeLeft()
	if err != nil {
		return err
	}
	if first := d.flow.First; len(first) > 0 {
		d.flow.First = nil
		if err := d.write(first); err != nil {
			d.cut = true
			return err
		}
		if err := d.delayed(len(first)); err != nil {
			return err
		}
	}
	if d.src != nil && d.dst != nil && d.flow.Transform == nil && d.flow.Inspect == nil && !d.noSplice {
		if d.flow.Framing == nil {
			return d.splice()
		}
		return d.readvCopy(early)
	}
	return d.copy(early)
}

// epoch is a time from which others are counted in less memory.
var epoch = time.Now()

// arm limits the wait for the next bytes to idle, so that the direction can be
// parked. Setting a deadline is not free, so arm renews it every idle/2 only.
func (d *direction) arm() {
	if d.pair.config.Poller == nil || d.src == nil || d.noPark {
		return
	}
	now := time.Now()
	at := now.Sub(epoch)
	if d.rearm != 0 && at < d.rearm {
		return
	}
	d.rearm = at + d.pair.config.idle()/2
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if !d.pair.over.Load() && !d.lingering.Load() && !d.pair.suspending.Load() {
		d.flow.Src.SetReadDeadline(now.Add(d.pair.config.idle()))
	}
}

// park parks the direction in the poller. If it returns true, the goroutine must
// return. It returns false if the direction must continue, or if it cannot be
// parked.
func (d *direction) park() bool {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if d.pair.over.Load() || d.lingering.Load() {
		return false
	}
	if d.flow.Parked != nil {
		d.flow.Parked()
	}
	if d.watch != nil && !d.watch.running.Load() {
		d.watch = nil
	}
	if d.parked = d.pair.config.Poller != nil && d.pair.config.Poller.park(d); !d.parked {
		d.noPark = true
		d.flow.Src.SetReadDeadline(time.Time{})
	}
	return d.parked
}

// unpark starts a goroutine for the direction if it is parked. Under the pair's
// mu.
func (d *direction) unpark() {
	if d.parked {
		d.parked = false
		d.mute()
		d.startGoroutine()
	}
}

// startGoroutine starts the goroutine of a direction that had none, and has neither
// deadline if it lingered. Under the pair's mu.
func (d *direction) startGoroutine() {
	if d.lingering.Load() && !d.pair.over.Load() {
		d.setDeadlines()
	}
	go d.run()
}

// lingerParked ends the direction, which is parked, when the linger is over: its
// goroutine would only wait for that. Under the pair's mu.
func (d *direction) lingerParked() {
	left := time.Until(d.pair.until)
	if d.lingers == nil {
		d.lingers = time.AfterFunc(left, d.endLinger)
	} else {
		d.lingers.Reset(left)
	}
}

// endLinger runs in a timer's goroutine.
func (d *direction) endLinger() {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if time.Now().Before(d.pair.until) && d.parked {
		d.lingerParked()
		return
	}
	d.unpark()
}

// holds calls Flow.Holds.
func (d *direction) holds(bytes bool) {
	if d.flow.Holds != nil {
		d.flow.Holds(bytes)
	}
}

// A system call that the scheduler is not told of gives other goroutines no occasion
// to run, and while many do, the scheduler looks for the Poller's events only every 10
// ms. So a direction that moves bulk looks for them itself each time it has moved
// lookBytes, and lets other goroutines run each time it has moved yieldBytes. While
// messages come, it looks after each system call, none of which writes more than
// pieceBytes then.
const (
	lookBytes  = 192 << 10 // a batch of bulkBytes, which is rarely full, is more
	pieceBytes = 128 << 10
	yieldBytes = 1 << 20
)

// rest does that after n bytes. Nothing is locked.
func (d *direction) rest(n int) {
	before := d.turn
	d.turn += int32(n)
	if p := d.pair.config.Poller; p != nil && d.turn/lookBytes != before/lookBytes {
		p.help()
	} else {
		d.glance(n)
	}
	if d.turn >= yieldBytes {
		d.turn = 0
		runtime.Gosched()
	}
}

// glance looks for messages while some come, after a system call for n bytes. Nothing is
// locked.
func (d *direction) glance(n int) {
	if n >= glanceBytes && d.chatting() {
		d.pair.config.Poller.help()
	}
}

// glanceBytes is the least that a look for messages is worth a system call after.
const glanceBytes = 16 << 10

// chatting reports whether messages have come lately that the Poller moves.
func (d *direction) chatting() bool {
	p := d.pair.config.Poller
	return p != nil && p.chatting()
}

// moved counts n bytes that were written.
func (d *direction) moved(n int) {
	if n <= 0 {
		return
	}
	d.bytes.Add(int64(n))
	if d.flow.Moved != nil {
		d.flow.Moved(n)
	}
	if d.lingering.Load() {
		d.pair.mu.Lock()
		if !d.pair.over.Load() && !d.pair.failed.Load() {
			d.limit(d.pair.config.linger())
		}
		d.pair.mu.Unlock()
	}
}

// limit sets the deadlines of the direction's next read and write to linger from
// now. Under the pair's mu.
func (d *direction) limit(linger time.Duration) {
	d.pair.until = time.Now().Add(linger)
	d.setDeadlines()
}

// setDeadlines sets those of limit. Under the pair's mu.
func (d *direction) setDeadlines() {
	if d.pair.suspending.Load() {
		d.flow.Src.SetReadDeadline(longAgo)
	} else if d.holding {
		d.flow.Src.SetReadDeadline(time.Now()) // moved calls limit again
	} else {
		d.flow.Src.SetReadDeadline(d.pair.until)
	}
	d.flow.Dst.SetWriteDeadline(d.pair.until)
}
