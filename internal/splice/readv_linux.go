package splice

import (
	"io"

	"github.com/mtwire/mtwire/internal/bufpool"
	"golang.org/x/sys/unix"
)

// readvCopier reads a stream with readv(2) into the bodies of frames, and fills in
// the headers, so that no byte is moved in memory before the write.
//
//	| header | body | header | body | …
type readvCopier struct {
	frames *cutter
	buf    *bufpool.Buffer
	room   [readvBodies][]byte // of the bodies that have not come yet
	bodies [][]byte            // the part of room that is in use
	most   int                 // bytes of one read
	n      int                 // bytes in bodies
	size   int                 // of the next buffer
	held   []byte              // those of them that wait for more without buf
	// The result of tryRead, whose signature has no room for it.
	read int
	err  error
}

// readvBodies is the maximum number of bodies that one readv fills. They lie in a
// buffer of batchBytes or bulkBytes.
const readvBodies = 16

// readvCopy copies with one readv and one write at a time. Splicing each body
// behind a header that was written separately is more work for the kernel. early was
// read from the source already.
func (d *direction) readvCopy(early []byte) error {
	g := &readvCopier{frames: &d.frames, held: early, n: len(early)}
	defer g.release()
	try := g.tryRead
	more := func() error { return g.readMore(d, try) }
	for {
		d.arm()
		g.size = d.batch()
		if g.n > 0 {
			// early
		} else if err := more(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var ended error
		if d.isShort(g.n) {
			ended = d.hold(func() int { return g.n }, more)
		}
		moved := g.n
		if err := g.write(d); err != nil {
			d.cut = true
			return err
		}
		d.batched(moved)
		if ended == io.EOF {
			return nil
		} else if ended != nil {
			return ended
		}
		if err := d.delayed(moved); err != nil {
			return err
		}
		d.rest(moved)
	}
}

// readMore reads at least one more byte into the bodies.
func (g *readvCopier) readMore(d *direction, try func(fd uintptr) bool) error {
	g.read, g.err, g.most = 0, nil, d.limitRead(g.size)
	if err := d.src.Read(try); err != nil {
		return err
	}
	switch {
	case g.err != nil && g.n == 0:
		return d.fallBack(g.err)
	case g.err != nil:
		return spliceError(d.flow.Src, g.err)
	case g.read == 0:
		return io.EOF
	}
	g.n += g.read
	d.holds(true)
	d.glance(g.read)
	return nil
}

// tryRead reads into the bodies. If there is nothing to read, it releases the
// buffer and returns false, so that no buffer is held during the wait.
func (g *readvCopier) tryRead(fd uintptr) bool {
	g.borrow()
	n, errno := rawReadv(fd, g.bodies)
	switch errno {
	case 0:
	case unix.EAGAIN:
		g.held = append(g.held[:0], g.buf.B[g.frames.HeaderLength:][:g.n]...)
		g.release()
		return false
	default:
		g.err = errno
	}
	g.read = n
	return true
}

// borrow lays the bodies out in a buffer: each is as long as it may be. g.n bytes,
// fewer than the first has room for, have come already.
func (g *readvCopier) borrow() {
	if g.buf != nil && g.n == 0 && len(g.buf.B) != g.size {
		bufpool.Put(g.buf)
		g.buf = nil
	}
	if g.buf == nil {
		g.buf = bufpool.Get(g.size)
		copy(g.buf.B[g.frames.HeaderLength:], g.held)
	}
	start, end := 0, 0
	g.bodies = g.room[:0]
	for i := range readvBodies {
		start = end + g.frames.HeaderLength
		end = start + g.frames.limit(i)
		if end > len(g.buf.B) || i > 0 && end > g.most {
			break
		}
		g.bodies = append(g.bodies, g.buf.B[start:end])
	}
	g.bodies[0] = g.bodies[0][g.n:]
}

func (g *readvCopier) release() {
	bufpool.Put(g.buf)
	g.buf, g.bodies, g.room = nil, nil, [readvBodies][]byte{}
}

// write writes the bodies with their headers. They were read where their headers
// leave room for them; only what a minimum makes part of the last body is moved.
func (g *readvCopier) write(d *direction) error {
	if g.buf == nil {
		g.borrow()
	}
	var layout [readvBodies]int
	for i := range layout {
		layout[i] = g.frames.limit(i)
	}
	var room [readvBodies]int
	lengths := g.frames.split(room[:0], g.n)
	b, total := g.buf.B, 0
	for i, length := range lengths {
		if short := layout[i] - length; short > 0 && i+1 < len(lengths) {
			end := total + g.frames.HeaderLength + length
			copy(b[end+g.frames.HeaderLength:], b[end:end+short])
		}
		g.frames.PutHeader(b[total:total+g.frames.HeaderLength], length)
		total += g.frames.HeaderLength + length
	}
	g.n, g.held = 0, g.held[:0]
	n, err := d.writeOnce(b[:total])
	d.moved(g.frames.bodyBytes(lengths, n))
	if err == nil && n < total {
		err = io.ErrShortWrite
	}
	return err
}
