package splice

import (
	"io"

	"github.com/mtwire/mtwire/internal/readbuf"
)

// copy copies through a pooled buffer. early was read from the source already.
func (d *direction) copy(early []byte) error {
	var r readbuf.Reader
	r.Reset(d.flow.Src)
	r.Preload(early)
	r.Read = d.socketRead()
	defer r.Release()
	fill := func() error {
		r.Most = d.limitRead(0)
		err := r.Fill()
		if err == nil {
			d.holds(true)
			d.glance(len(r.Bytes()))
		}
		return err
	}
	for {
		d.arm()
		r.Prefer(d.batch())
		if len(r.Bytes()) > 0 {
			// early
		} else if err := fill(); err == io.EOF {
			return d.endOfStream()
		} else if err != nil {
			return err
		}
		d.refusal = nil
		var ended error
		if d.isShort(len(r.Bytes())) {
			ended = d.hold(func() int { return len(r.Bytes()) }, fill)
		}
		b := r.Bytes()
		read := len(b)
		r.Consume(read) // b is valid until the next Fill
		var bad error
		if d.flow.Transform != nil {
			var n int
			n, bad = d.flow.Transform(b)
			b = b[:n]
		}
		inspected := d.flow.Inspect != nil && len(b) > 0 && !d.flow.Inspect(b)
		if err := d.write(b); err != nil {
			d.cut = true
			return err
		}
		d.batched(read)
		if inspected {
			d.flow.Inspect = nil
		}
		if bad != nil {
			return bad
		}
		switch {
		case ended == io.ErrUnexpectedEOF: // behind bytes that were held
			return d.endOfStream()
		case ended != nil:
			return ended
		}
		if err := d.delayed(len(b)); err != nil {
			return err
		}
		d.rest(read)
		if inspected {
			return errFallback
		}
	}
}

// write writes b, in frames if the flow has a Framing.
func (d *direction) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if d.frames.Framing != nil {
		return d.writeFramed(b)
	}
	n, err := d.writeOnce(b)
	d.moved(n)
	return err
}

// writeOnce is Dst.Write within the write timeout.
func (d *direction) writeOnce(b []byte) (int, error) {
	d.watch.begin()
	defer d.watch.end()
	return d.send(b)
}

// A direction reads batchBytes at a time, and bulkBytes in a bulk transfer that the
// destination keeps up with: fewer system calls, and fewer short records at the end of a
// batch. A peer that takes less than comes makes a buffer wait for it, so that one is
// small. batchBytes has room for three of the longest bodies of TLS records, bulkBytes
// for fifteen.
const (
	batchBytes = 64 << 10
	bulkBytes  = 256 << 10
)

// batch returns how many bytes to read next.
func (d *direction) batch() int {
	if d.bulk {
		return bulkBytes
	}
	return batchBytes
}

// batched notes that n bytes were read at once, and are written. Even a fast peer makes
// a write wait now and then, a slow one makes each.
func (d *direction) batched(n int) {
	if d.waited {
		d.waits = min(d.waits+1, 2)
	} else {
		d.waits = 0
	}
	d.bulk = n > batchBytes/2 && (d.waits == 0 || d.bulk && d.waits == 1)
	d.waited = false
}
