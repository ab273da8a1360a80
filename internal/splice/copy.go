package splice

import (
	"io"

	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/readbuf"
)

// Framing cuts a stream into bodies with a header before each. One Framing may
// serve any number of flows concurrently.
type Framing struct {
	// HeaderLength and MaxBody are the length of a header, and the maximum length
	// of a body, in bytes. Their sum is best a power of two, up to 16 KiB: then
	// it fills a pooled buffer.
	HeaderLength, MaxBody int

	// PutHeader writes the header of a body of n bytes, 1 to MaxBody.
	PutHeader func(header []byte, n int)
}

// copy copies through a pooled buffer.
func (d *direction) copy() error {
	var r readbuf.Reader
	r.Reset(d.flow.Src)
	defer r.Release()
	for {
		d.arm()
		if err := r.Fill(); err == io.EOF {
			return d.endOfStream()
		} else if err != nil {
			return err
		}
		d.refusal = nil
		b := r.Bytes()
		r.Consume(len(b)) // b is valid until the next Fill
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
		if inspected {
			d.flow.Inspect = nil
		}
		if bad != nil {
			return bad
		}
		if err := d.delayed(len(b)); err != nil {
			return err
		}
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
	if d.flow.Framing != nil {
		return d.writeFramed(b)
	}
	n, err := d.flow.Dst.Write(b)
	d.moved(n)
	return err
}

func (d *direction) writeFramed(b []byte) error {
	f := d.flow.Framing
	frames := (len(b) + f.MaxBody - 1) / f.MaxBody
	scratch := bufpool.Get(len(b) + frames*f.HeaderLength)
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

// bodyBytes returns how many of n framed bytes belong to bodies.
func (f *Framing) bodyBytes(n int) int {
	whole := n / (f.HeaderLength + f.MaxBody)
	rest := n % (f.HeaderLength + f.MaxBody)
	return whole*f.MaxBody + max(0, rest-f.HeaderLength)
}
