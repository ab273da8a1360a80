package splice

import (
	"io"

	"github.com/mtwire/mtwire/internal/bufpool"
	"golang.org/x/sys/unix"
)

// readvBodies is the number of bodies that one readv fills.
const readvBodies = 4

// readvCopier reads a stream with readv(2) into the bodies of frames, and fills in
// the headers, so that no byte is moved in memory before the write.
//
//	| header | body, MaxBody bytes | header | body | …
type readvCopier struct {
	framing *Framing
	buf     *bufpool.Buffer
	bodies  [readvBodies][]byte
	// The result of tryRead, whose signature has no room for it.
	n   int
	err error
}

// readvCopy copies with one readv and one write at a time. Splicing each body
// behind a header that was written separately is more work for the kernel.
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
			return d.fallBack(g.err)
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
		if err = d.delayed(g.n); err != nil {
			return err
		}
	}
}

// tryRead reads into the bodies. If there is nothing to read, it releases the
// buffer and returns false, so that no buffer is held during the wait.
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
	frame := g.framing.HeaderLength + g.framing.MaxBody
	g.buf = bufpool.Get(readvBodies * frame)
	for i := range g.bodies {
		g.bodies[i] = g.buf.B[i*frame+g.framing.HeaderLength : (i+1)*frame]
	}
}

func (g *readvCopier) release() {
	bufpool.Put(g.buf)
	g.buf, g.bodies = nil, [readvBodies][]byte{}
}

// framed fills in the headers and returns the frames to write. They are valid
// until the next tryRead.
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
