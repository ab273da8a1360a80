package splice

import (
	"time"

	"github.com/mtwire/mtwire/internal/bufpool"
	"github.com/mtwire/mtwire/internal/netx"
)

// Framing cuts a stream into bodies with a header before each. One Framing may
// serve any number of flows concurrently.
type Framing struct {
	// HeaderLength and MaxBody are the length of a header, and the maximum length
	// of a body, in bytes.
	HeaderLength, MaxBody int

	// Leading are the lengths of the first bodies, as far as the bytes that come
	// together at the beginning are enough for them. The bodies after those are at
	// most as long as Ramp says, and then MaxBody.
	Leading, Ramp []int

	// MinBody is the minimum length of a body. It is at most half of every other
	// length. If fewer bytes have come, they are held back until enough follow or
	// Hold has passed; then the body is shorter. 0 means no minimum.
	MinBody int
	Hold    time.Duration

	// PutHeader writes the header of a body of n bytes, 1 to MaxBody or a length
	// in Leading or Ramp.
	PutHeader func(header []byte, n int)
}

// cutter is the state of a flow's Framing.
type cutter struct {
	*Framing
	cut int // bodies of Leading and Ramp that were cut
}

// limit returns the maximum length of the body that is i after the next.
func (c *cutter) limit(i int) int {
	i += c.cut
	if i < len(c.Leading) {
		return c.Leading[i]
	}
	if i -= len(c.Leading); i < len(c.Ramp) {
		return c.Ramp[i]
	}
	return c.MaxBody
}

// split appends the lengths of bodies for n bytes to lengths.
func (c *cutter) split(lengths []int, n int) []int {
	for n > 0 {
		length := min(n, c.limit(0))
		if left := n - length; left > 0 && left < c.MinBody {
			length -= c.MinBody - left
		}
		if c.cut < len(c.Leading) && length < c.Leading[c.cut] {
			c.cut = len(c.Leading) // not enough bytes for the rest of them
		}
		if c.cut < len(c.Leading)+len(c.Ramp) {
			c.cut++
		}
		lengths = append(lengths, length)
		n -= length
	}
	return lengths
}

// bodyBytes returns how many of the first n framed bytes belong to bodies.
func (f *Framing) bodyBytes(lengths []int, n int) int {
	total := 0
	for _, length := range lengths {
		n -= f.HeaderLength
		if n <= 0 {
			break
		}
		total += min(n, length)
		n -= length
	}
	return total
}

// appendFrames appends b in bodies of these lengths, with headers, to dst, which has
// the capacity for them.
func (f *Framing) appendFrames(dst, b []byte, lengths []int) []byte {
	for _, length := range lengths {
		header := dst[len(dst) : len(dst)+f.HeaderLength]
		f.PutHeader(header, length)
		dst = append(dst[:len(dst)+f.HeaderLength], b[:length]...)
		b = b[length:]
	}
	return dst
}

// writeFramed writes b with headers.
func (d *direction) writeFramed(b []byte) error {
	f := d.frames.Framing
	var room [8]int
	lengths := d.frames.split(room[:0], len(b))
	scratch := bufpool.Get(len(b) + len(lengths)*f.HeaderLength)
	defer bufpool.Put(scratch)
	n, err := d.writeOnce(f.appendFrames(scratch.B[:0], b, lengths))
	d.moved(f.bodyBytes(lengths, n))
	return err
}

// isShort reports whether n bytes are too few for a body.
func (d *direction) isShort(n int) bool {
	return d.frames.Framing != nil && n < d.frames.MinBody
}

// hold calls more, which reads, until have returns MinBody, for up to Hold. It
// returns the error of a read. Bytes that have come are not lost.
func (d *direction) hold(have func() int, more func() error) error {
	held := false
	for d.isShort(have()) {
		if !held && !d.limitHold(d.frames.Hold) {
			return nil // the direction is about to end
		}
		held = true
		if err := more(); netx.IsTimeout(err) {
			break
		} else if err != nil {
			return err
		}
	}
	if held {
		d.limitHold(0)
	}
	return nil
}

// limitHold sets the deadline of the next reads, or none if limit is 0. It returns
// false if the direction has another deadline, which stays.
func (d *direction) limitHold(limit time.Duration) bool {
	d.pair.mu.Lock()
	defer d.pair.mu.Unlock()
	d.holding = false
	if d.pair.over.Load() || d.lingering.Load() || d.pair.suspending.Load() {
		return false
	}
	d.holding = limit > 0
	deadline := time.Time{}
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	d.flow.Src.SetReadDeadline(deadline)
	d.rearm = 0 // arm sets its deadline again
	return true
}
