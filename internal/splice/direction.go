package splice

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/readbuf"
)

// direction is a Flow of a Pair. While there are bytes, and for a short time
// after, it has a goroutine; then it is parked.
type direction struct {
	pair  *Pair
	flow  Flow
	src   syscall.RawConn // nil if Src is not a bare socket
	dst   syscall.RawConn // nil if Dst is not
	bytes atomic.Int64

	// Of the goroutine.
	rearm    time.Time // when the read deadline is to be set anew
	noSplice bool
	noPark   bool
	cut      bool // a write failed, and bytes are lost

	lingering atomic.Bool // the other direction is at its end

	// Under the pair's mu.
	waiter waiterID  // in the poller
	until  time.Time // when the linger is over
	parked bool
	// watching: its stream has ended, and its source is watched for a reset.
	watching bool
	ended    bool
	err      error
}

func (d *direction) prepare(p *Pair, f Flow) {
	d.pair, d.flow = p, f
	d.src, d.dst = readbuf.RawConn(f.Src), readbuf.RawConn(f.Dst)
}

// start has the direction wait for its first bytes, where it can without a
// goroutine.
func (d *direction) start() {
	if d.pair.poller == nil || d.src == nil || !d.park() {
		go d.run()
	}
}

// run moves bytes until the direction has ended or is parked.
func (d *direction) run() {
	for {
		d.rearm = time.Time{}
		err := d.transfer()
		switch {
		case err == errFallback:
		case !isTimeout(err) || d.late():
			d.pair.end(d, err)
			return
		case d.park():
			return
		}
	}
}

// late says whether a timeout is the direction's end, and not a pause. Only a
// wait for the next bytes of a socket is ever paused.
func (d *direction) late() bool {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if d.pair.over.Load() || d.cut {
		return true
	}
	if d.lingering.Load() {
		return !time.Now().Before(d.until)
	}
	return d.src == nil
}

// errFallback means that the rest of the bytes are to be moved in another way
// than those before.
var errFallback = errors.New("another way is open")

// transfer moves bytes in the cheapest way that there is. It returns nil at
// the end of the stream, and a timeout when nothing has come for a while.
func (d *direction) transfer() error {
	if d.src != nil && d.dst != nil && d.flow.Transform == nil && d.flow.Inspect == nil && !d.noSplice {
		if d.flow.Framing == nil {
			return d.splice()
		}
		return d.readvCopy()
	}
	return d.copy()
}

// arm limits the wait for the next bytes, so that the goroutine does not wait
// for ever. To set a deadline has its price, so it is done once in a while.
func (d *direction) arm() {
	if d.pair.poller == nil || d.src == nil || d.noPark {
		return
	}
	now := time.Now()
	if now.Before(d.rearm) {
		return
	}
	d.rearm = now.Add(d.pair.idle / 2)
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if !d.pair.over.Load() && !d.lingering.Load() {
		d.flow.Src.SetReadDeadline(now.Add(d.pair.idle))
	}
}

// park gives the goroutine up, which is to return if park says true. It says
// false if there is a reason to go on, or no room.
func (d *direction) park() bool {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	if d.pair.over.Load() || d.lingering.Load() {
		return false
	}
	if d.flow.Parked != nil {
		d.flow.Parked()
	}
	if d.parked = d.pair.poller != nil && d.pair.poller.park(d); !d.parked {
		d.noPark = true
		d.flow.Src.SetReadDeadline(time.Time{})
	}
	return d.parked
}

// unpark gives the direction a goroutine again, if it has none. Under the
// pair's mu.
func (d *direction) unpark() {
	if d.parked {
		d.parked = false
		go d.run()
	}
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
		if !d.pair.over.Load() {
			d.limit(d.pair.linger)
		}
		d.pair.mu.Unlock()
	}
}

// limit gives the direction so long from now, to read something and to be read
// from. Under the pair's mu.
func (d *direction) limit(linger time.Duration) {
	d.until = time.Now().Add(linger)
	d.flow.Src.SetReadDeadline(d.until)
	d.flow.Dst.SetWriteDeadline(d.until)
}

// copy moves bytes through a buffer.
func (d *direction) copy() error {
	var r readbuf.Reader
	r.Reset(d.flow.Src)
	defer r.Release()
	for {
		d.arm()
		if err := r.Fill(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		b := r.Bytes()
		r.Consume(len(b)) // good until the next Fill
		var bad error
		if d.flow.Transform != nil {
			var n int
			n, bad = d.flow.Transform(b)
			b = b[:n]
		}
		watched := d.flow.Inspect != nil && len(b) > 0 && !d.flow.Inspect(b)
		if err := d.write(b); err != nil {
			d.cut = true
			return err
		}
		if bad != nil {
			return bad
		}
		if watched {
			d.flow.Inspect = nil
			return errFallback
		}
	}
}

// write writes b, in pieces if it is to be framed.
func (d *direction) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if d.flow.Framing != nil {
		return d.writeFramed(b)
	}
	n, err := d.flow.Dst.Write(b)
	d.moved(n)
	return err
}

func (d *direction) writeFramed(b []byte) error {
	f := d.flow.Framing
	pieces := (len(b) + f.MaxBody - 1) / f.MaxBody
	scratch := bufpool.Get(len(b) + pieces*f.HeaderLength)
	defer bufpool.Put(scratch)
	out := scratch.B[:0]
	for rest := b; len(rest) > 0; {
		n := min(len(rest), f.MaxBody)
		header := out[len(out) : len(out)+f.HeaderLength]
		f.PutHeader(header, n)
		out = append(out[:len(out)+f.HeaderLength], rest[:n]...)
		rest = rest[n:]
	}
	n, err := d.flow.Dst.Write(out)
	d.moved(f.bodyBytes(n))
	return err
}

// bodyBytes is how many of n framed bytes belong to bodies.
func (f *Framing) bodyBytes(n int) int {
	whole := n / (f.HeaderLength + f.MaxBody)
	rest := n % (f.HeaderLength + f.MaxBody)
	return whole*f.MaxBody + max(0, rest-f.HeaderLength)
}
