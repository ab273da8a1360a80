package splice

import (
	"io"
	"slices"
	"syscall"

	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

const (
	// smallBytes is how much a Poller's goroutine moves at a time: most messages of
	// a chat. A read that finds more is the beginning of bulk, which a goroutine of
	// its own moves at less cost, with splice(2).
	smallBytes = 16 << 10

	// headroom is the length of the longest header that a body may get in place.
	headroom = 16
)

// mover moves what has come in parked directions: one read and one write that do not
// wait, through a buffer that all directions of a set share. What it cannot finish it
// leaves to the direction's goroutine. It is not safe for concurrent use.
type mover struct {
	buf [headroom + smallBytes]byte

	// The argument and the results of tryRead and tryWrite, whose signatures have
	// no room for them.
	b     []byte
	n     int
	errno syscall.Errno
	// tryRead and tryWrite as func values: making one allocates.
	read, write func(fd uintptr)
}

// move moves what has come in d. It returns nil if d can be parked again, io.EOF at the
// end of its stream, errFallback if its goroutine must continue, or a pauseFor.
func (m *mover) move(d *direction) error {
	if d.dst == nil || d.noRaw {
		return errFallback
	}
	if m.read == nil {
		m.read, m.write = m.tryRead, m.tryWrite
	}
	m.b = m.buf[headroom:]
	switch err := d.src.Control(m.read); {
	case err != nil:
		return errFallback // closed
	case m.errno == unix.EAGAIN:
		return nil
	case isSocketError(m.errno):
		d.left = &leftover{err: spliceError(d.flow.Src, m.errno)}
		return errFallback
	case m.errno != 0: // a sandbox's
		d.noRaw = true
		return errFallback
	case m.n == 0 && d.refusal != nil:
		return errFallback // an error, in truth
	case m.n == 0:
		return io.EOF
	}
	d.holds(true)
	if d.isShort(m.n) {
		d.left = &leftover{read: slices.Clone(m.b[:m.n])}
		return errFallback
	}
	bulk := m.n == len(m.b)
	b := m.b[:m.n]
	var bad error
	if d.flow.Transform != nil {
		var n int
		n, bad = d.flow.Transform(b)
		b = b[:n]
	}
	if d.flow.Inspect != nil && len(b) > 0 && !d.flow.Inspect(b) {
		d.flow.Inspect = nil
	}
	if d.pair.over.Load() { // since Inspect at the latest; a deadline does not end this write
		return errFallback
	}
	if left := m.send(d, b); left != nil {
		if left.err == nil {
			left.err = bad
		}
		d.left = left
		return errFallback
	}
	if bad != nil {
		d.left = &leftover{err: bad}
		return errFallback
	}
	if err := d.delayed(len(b)); err != nil {
		return err
	}
	if bulk {
		return errFallback
	}
	return nil
}

// send writes b, which is in buf behind headroom, in frames if d has a Framing. It
// returns what could not be written, nil if there is nothing.
func (m *mover) send(d *direction, b []byte) *leftover {
	if len(b) == 0 {
		return nil
	}
	out := b
	var room [8]int
	var lengths []int
	if f := d.frames.Framing; f != nil {
		lengths = d.frames.split(room[:0], len(b))
		if start := headroom - f.HeaderLength; len(lengths) == 1 && start >= 0 {
			f.PutHeader(m.buf[start:headroom], len(b))
			out = m.buf[start : headroom+len(b)]
		} else {
			scratch := bufpool.Get(len(b) + len(lengths)*f.HeaderLength)
			defer bufpool.Put(scratch)
			out = f.appendFrames(scratch.B[:0], b, lengths)
		}
	}
	m.b = out
	if err := d.dst.Control(m.write); err != nil {
		return &leftover{err: err, cut: true}
	}
	sent := m.n
	if d.frames.Framing != nil {
		sent = d.frames.bodyBytes(lengths, sent)
	}
	d.moved(sent)
	switch {
	case m.n == len(out):
		return nil
	case isSocketError(m.errno):
		return &leftover{err: spliceError(d.flow.Dst, m.errno), cut: true}
	}
	return &leftover{out: slices.Clone(out[m.n:]), bodies: len(b) - sent, delayed: len(b)}
}

func (m *mover) tryRead(fd uintptr) { m.n, m.errno = netx.RecvNow(fd, m.b) }

func (m *mover) tryWrite(fd uintptr) { m.n, m.errno = netx.SendNow(fd, m.b) }

// closeWrite is the function closeWrite for d's destination.
func (d *direction) closeWrite() error {
	if d.dst == nil {
		return closeWrite(d.flow.Dst)
	}
	var errno syscall.Errno
	if closed := d.dst.Control(func(fd uintptr) { errno = netx.ShutdownNow(fd) }); closed != nil || errno == 0 {
		return nil
	}
	return spliceError(d.flow.Dst, errno)
}
