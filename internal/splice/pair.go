// Package splice copies bytes between two connections, in both directions, and
// does not interpret them: with splice(2) from socket to socket, with readv(2)
// into frames, and otherwise through a pooled buffer.
//
//	pair.go          two directions: half-close, linger, first error, Abort
//	direction.go     one direction: its goroutine, and how it is parked
//	failure.go       what still arrives after an error
//	writetimeout.go  a peer that takes nothing
//	suspend.go       stopping a pair, to go on in another process
//	delay.go         pausing a direction, for a rate limit
//	copy.go          copying through a buffer
//	framing.go       cutting a stream into frames
//	splice_linux.go  splice(2)
//	readv_linux.go   readv(2)
//	poller_linux.go  the epoll sets that parked directions wait in
//	waiters_linux.go what waits in a set, by number
//	help_linux.go    how those that move bulk help the poller
//	inline_linux.go  short messages, which the poller moves by itself
//	rawcall_linux.go system calls that do not wait
//	socket_linux.go  reading and writing a socket with them
//	reset_linux.go   noticing a reset after the end of a stream
//	other.go         systems other than Linux
package splice

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	// DefaultLinger is the default of Config.Linger.
	DefaultLinger = time.Minute

	// DefaultIdle is the default of Config.Idle.
	DefaultIdle = 200 * time.Millisecond
)

// Config configures any number of pairs, which refer to it. It must not change while
// they last. The zero value is usable.
type Config struct {
	// Linger limits how long a direction may move nothing after the other one
	// has ended; then it is cut off. The time starts again with every byte moved
	// and at the end of every pause (Flow.Delay): during a pause the peer waits
	// for this end, so the direction is not silent. After an error it limits how
	// long the pair lasts, moving or not. 0 means DefaultLinger.
	Linger time.Duration

	// WriteTimeout ends the pair, with ErrWriteTimeout, when the peer of a
	// destination takes no byte for that long, or up to a quarter longer, while there
	// are bytes for it. On Linux an acknowledged byte counts, elsewhere a byte or
	// a Write that the destination has taken. 0 means no limit.
	WriteTimeout time.Duration

	// Poller holds directions that have moved nothing for Idle: a socket that is
	// parked in it needs no goroutine, also for short messages. If it is nil, each direction keeps its
	// goroutine.
	Poller *Poller

	// Go runs the end of a pair that has no goroutine: the call of done, for which a
	// goroutine with a grown stack is better than a new one. Nil means a new one.
	Go func(func())

	// Idle is how long a goroutine waits for the next bytes before its direction
	// is parked in Poller. The deadline is renewed every Idle/2 only, so the wait
	// is between Idle/2 and Idle. 0 means DefaultIdle.
	Idle time.Duration
}

func (c *Config) linger() time.Duration { return cmp.Or(c.Linger, DefaultLinger) }

func (c *Config) idle() time.Duration { return cmp.Or(c.Idle, DefaultIdle) }

// Result is how many bytes one direction moved and the error that ended it, nil
// for the end of the stream.
type Result struct {
	Bytes int64
	Err   error
}

// Pair is two connections and the two directions between them. While nothing
// moves it may hold no goroutine: see Config.Poller.
type Pair struct {
	config *Config
	done   func(up, down Result)

	up, down direction

	mu    sync.Mutex
	until time.Time   // when the linger of the remaining one is over
	open  int32       // directions that have not ended
	over  atomic.Bool // both directions must end; set under mu

	// See suspend.go. Set under mu.
	suspending atomic.Bool   // both directions are to stop, or have
	suspended  func(ok bool) // called when they have; nil then

	// After an error of one of the connections: see failure.go. Set under mu.
	failed  atomic.Bool
	aborted atomic.Bool // Abort was called
	broken  *net.Conn   // that connection, in a flow
	intact  *net.Conn   // the other connection
}

// Run copies in both directions until both have ended. When the stream of one
// ends, Run half-closes its destination and the other direction continues; that
// one is cut off when nothing has moved in it for linger (see Config.Linger; 0
// means DefaultLinger).
//
// An error in one direction ends both. So does the end of ctx and, on Linux, a
// reset of a source whose stream has ended, if the source is a bare socket. Only
// the first error is reported: the other direction's is its consequence. Run
// closes neither connection, but after an error both are unusable.
//
// If the error is of one of the connections, what that one has received is still
// delivered to the other, for up to linger: on Linux a socket can be read after a
// reset. If the other is a TCP socket, Run also waits until its peer has
// acknowledged the bytes, so that no way of closing it takes them back.
func Run(ctx context.Context, up, down Flow, linger time.Duration) (upward, downward Result) {
	ended := make(chan struct{})
	p := newPair(up, down, &Config{Linger: linger}, func(u, d Result) {
		upward, downward = u, d
		close(ended)
	})
	stop := context.AfterFunc(ctx, func() { p.Abort(ctx.Err()) })
	defer stop()
	go p.down.run()
	p.up.run()
	<-ended
	return upward, downward
}

// Start copies as Run does, but returns at once. It calls done once, in a goroutine
// that it may block, when both directions have ended.
//
// A caller that closes one of the connections before that must call Abort: a
// parked or paused direction does not notice the close. After done a connection
// may be used in another pair, if its deadlines are cleared first.
func Start(up, down Flow, config *Config, done func(up, down Result)) *Pair {
	p := newPair(up, down, config, done)
	p.up.start()
	p.down.start()
	return p
}

func newPair(up, down Flow, config *Config, done func(up, down Result)) *Pair {
	p := &Pair{config: config, done: done, open: 2}
	p.up.prepare(p, up)
	p.down.prepare(p, down)
	return p
}

// Moved returns how many bytes each direction has moved so far.
func (p *Pair) Moved() (up, down int64) { return p.up.bytes.Load(), p.down.bytes.Load() }

// Failed returns the connection whose error has ended the pair, nil if there was
// none: both streams have ended, a time limit is over, or Abort was called.
func (p *Pair) Failed() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		return nil
	}
	return *p.broken
}

// Abort ends both directions. One of their results has cause as its error,
// unless both have ended already or one has failed.
func (p *Pair) Abort(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aborted.Store(true)
	if p.over.Load() || p.open == 0 {
		return
	}
	if p.failed.Load() {
		p.endBoth()
		return
	}
	d := &p.up
	if d.ended || d.watching {
		d = &p.down
	}
	d.err = cause
	p.endBoth()
}

// endBoth unblocks the directions that run, by their deadlines, and ends those
// that are parked or paused. Under mu.
func (p *Pair) endBoth() {
	p.over.Store(true)
	p.suspending.Store(false)
	p.notify(false)
	for _, d := range []*direction{&p.up, &p.down} {
		d.flow.Src.SetReadDeadline(longAgo)
		d.flow.Dst.SetWriteDeadline(longAgo)
		if d.parked || d.suspended || d.stopPause() {
			d.parked, d.suspended = false, false
			if p.ended(d) {
				p.startGo(p.finish)
			}
		}
	}
}

// ended marks d as ended, and reports whether the other direction has ended too: then
// finish is due. Nothing happens to d afterwards. Under mu.
func (p *Pair) ended(d *direction) (last bool) {
	d.ended = true
	d.watch.stop()
	if d.lingers != nil {
		d.lingers.Stop()
	}
	if p.open--; p.open > 0 {
		p.checkSuspended()
		return false
	}
	p.notify(false)
	if poller := p.config.Poller; poller != nil {
		poller.unregister(&p.up)
		poller.unregister(&p.down)
	}
	return true
}

// startGo runs f in a goroutine.
func (p *Pair) startGo(f func()) {
	if p.config.Go != nil {
		p.config.Go(f)
		return
	}
	go f()
}

// finish calls done, after what it waits for.
func (p *Pair) finish() {
	p.awaitDelivery()
	p.done(Result{p.up.bytes.Load(), p.up.err}, Result{p.down.bytes.Load(), p.down.err})
}

func (p *Pair) other(d *direction) *direction {
	if d == &p.up {
		return &p.down
	}
	return &p.up
}

// end is the last call of d's goroutine. err is what ended the direction, nil
// for the end of the stream, which end passes on as a half-close.
func (p *Pair) end(d *direction, err error) {
	failed, err := p.passOn(d, err)
	if p.endDirection(d, failed, err, false) {
		p.finish()
	}
}

// endParked is end for a direction without a goroutine, whose stream has ended. It
// returns true if finish is due.
func (p *Pair) endParked(d *direction) (last bool) {
	failed, err := p.passOn(d, nil)
	return p.endDirection(d, failed, err, true)
}

// passOn half-closes the destination at the end of d's stream. It returns the error
// that has ended d, if any, and of which connection it is. The end of a stream is a
// reset if a write of the other direction has consumed the error in this moment.
func (p *Pair) passOn(d *direction, err error) (failedEnd, error) {
	failed := sourceFailed
	if d.cut {
		failed = destinationFailed
	}
	if err == nil && d.flow.NoBytes != nil && d.bytes.Load() == 0 && !d.lingering.Load() && !p.other(d).closing.Load() && !p.over.Load() {
		err = d.flow.NoBytes()
	}
	if err == nil && !p.failed.Load() && !p.other(d).closing.Load() {
		if reset := d.wasReset(); !p.other(d).closing.Load() { // nor set meanwhile
			err = reset
		}
	}
	if err == nil && !p.failed.Load() {
		d.closing.Store(true)
		if err = d.closeWrite(); err != nil {
			failed = destinationFailed
		}
	}
	return failed, err
}

// endDirection marks d as ended, and lets the other direction linger or fail. Until
// that one ends, d waits for a reset of its source, in the poller if it is parked. It
// returns true if both have ended.
func (p *Pair) endDirection(d *direction, failed failedEnd, err error, parked bool) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	other := p.other(d)
	switch {
	case p.over.Load(), p.failed.Load():
	case err != nil:
		p.fail(d, failed, err)
	case other.watching && (other.parked || other.suspended):
		other.parked, other.watching, other.suspended = false, false, false
		p.ended(other)
	case other.watching:
		other.flow.Src.SetReadDeadline(longAgo) // ends its watchForReset
	case !other.ended:
		other.lingering.Store(true)
		if other.parked {
			p.until = time.Now().Add(p.config.linger())
			other.lingerParked()
		} else {
			other.limit(p.config.linger())
		}
		switch {
		case parked && p.suspending.Load():
			d.watching = true
			d.halt()
			p.checkSuspended()
			return false
		case parked:
			d.watching, d.parked = true, true
			return false
		case p.watchForReset(d):
			return false
		}
	}
	return p.ended(d)
}

// reset is called when the source of d, whose stream has ended, has been reset: the
// bytes of the other direction cannot be delivered. err is nil if it was closed in
// another way. Under mu.
func (p *Pair) reset(d *direction, err error) {
	if other := p.other(d); err != nil && !other.ended && !p.over.Load() && !p.failed.Load() {
		p.fail(other, destinationFailed, err)
	}
	d.watching = false
}

// watchForReset runs after the end of d's stream, until the other direction ends.
// A peer that has vanished after its FIN answers the next bytes with a reset,
// which only the write after those would report. watchForReset notices the reset
// at once and ends the pair. It returns true if d was suspended meanwhile, and has not
// ended. Under mu, which it releases while it waits.
func (p *Pair) watchForReset(d *direction) (suspended bool) {
	if d.src == nil {
		return false
	}
	d.watching = true
	var err error
	for again := true; again; {
		if p.suspending.Load() {
			d.halt()
			p.checkSuspended()
			return true
		}
		d.kicked = false
		d.flow.Src.SetReadDeadline(time.Time{})
		p.mu.Unlock()
		err = d.waitReset()
		p.mu.Lock()
		again = d.kicked && err == nil && !p.over.Load() && !p.failed.Load() && !p.other(d).ended
	}
	p.reset(d, err)
	return false
}

// closeWrite half-closes dst. A carrier without half-close, such as WebSocket,
// cannot pass the end of a stream on; its caller closes it in the end.
func closeWrite(dst net.Conn) error {
	err := netx.CloseWrite(dst)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// longAgo is a deadline that has passed: setting it unblocks a call at once.
var longAgo = time.Unix(1, 0)
