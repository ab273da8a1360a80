package splice

import (
	"io"

	"github.com/mtwire/mtwire/internal/bufpool"
	"golang.org/x/sys/unix"
)

// readvBodies is how many bodies are read at once.
const readvBodies = 4

// readvCopier reads bytes to where they are written from: bodies, with a gap in
// front of each for its header.
//
//	| header | body, MaxBody bytes | header | body | …
type readvCopier struct {
	framing *Framing
	buf     *bufpool.Buffer
	bodies  [readvBodies][]byte
	n       int
	err     error
}

// gather moves bytes with one readv and one write at a time, which is less
// work for the kernel than to splice each body behind a header of ours.
func (d *direction) readvCopy() error {
	g := &readvCopier{framing: d.flow.Framing}
	defer g.release()
	read := g.tryRead
	for {
		d.arm()
		g.n, g.err = 0, nil
		if err := d.src.Read(read); err != nil {
			return err
		}
		switch {
		case g.err != nil:
			return spliceError(d.flow.Src, g.err)
		case g.n == 0:
			return nil
		}
		n, err := d.flow.Dst.Write(g.framed())
		d.moved(g.framing.bodyBytes(n))
		if err == nil && n < g.n {
			err = io.ErrShortWrite
		}
		if err != nil {
			d.cut = true
			return err
		}
	}
}

// tryRead reads what has come. If nothing has, it gives the buffer back before
// it waits.
func (g *readvCopier) tryRead(fd uintptr) bool {
	g.borrow()
	for {
		n, err := unix.Readv(int(fd), g.bodies[:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			g.release()
			return false
		}
		g.n, g.err = n, err
		return true
	}
}

func (g *readvCopier) borrow() {
	if g.buf != nil {
		return
	}
	piece := g.framing.HeaderLength + g.framing.MaxBody
	g.buf = bufpool.Get(readvBodies * piece)
	for i := range g.bodies {
		g.bodies[i] = g.buf.B[i*piece+g.framing.HeaderLength : (i+1)*piece]
	}
}

func (g *readvCopier) release() {
	bufpool.Put(g.buf)
	g.buf, g.bodies = nil, [readvBodies][]byte{}
}

// framed fills in the headers, and returns what is to be written.
func (g *readvCopier) framed() []byte {
	total := 0
	for rest := g.n; rest > 0; {
		n := min(rest, g.framing.MaxBody)
		g.framing.PutHeader(g.buf.B[total:total+g.framing.HeaderLength], n)
		total += g.framing.HeaderLength + n
		rest -= n
	}
	return g.buf.B[:total]
}
