package splice

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"syscall"

	"github.com/mtwire/mtwire/internal/bufpool"
	"golang.org/x/sys/unix"
)

// pipe is the pipe that splice(2) needs between two sockets. It takes two
// descriptors, so it is borrowed only while there are bytes to move.
type pipe struct {
	r, w    int
	held    int             // bytes in the pipe
	cleanup runtime.Cleanup // closes a pipe that the pool has dropped
}

var pipes = sync.Pool{}

// maxSplice is the maximum number of bytes moved at once, and the size of the
// pipes. The kernel's default is a quarter of that and takes a tenth more time. A
// megabyte would save little more, but is what the kernel may then hold for each
// client that reads slowly.
const maxSplice = 256 << 10

func borrowPipe() (*pipe, error) {
	if p, ok := pipes.Get().(*pipe); ok {
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// It fails, and the pipe stays small, when this system user's pipes have
	// reached their total limit: /proc/sys/fs/pipe-user-pages-soft.
	unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, maxSplice)
	p := &pipe{r: fds[0], w: fds[1]}
	p.cleanup = runtime.AddCleanup(p, closeBoth, fds)
	return p, nil
}

// release returns an empty pipe to the pool, and closes one with bytes in it. p
// may be nil.
func (p *pipe) release() {
	if p == nil {
		return
	}
	if p.held == 0 {
		pipes.Put(p)
		return
	}
	p.cleanup.Stop()
	closeBoth([2]int{p.r, p.w})
}

func closeBoth(fds [2]int) {
	unix.Close(fds[0])
	unix.Close(fds[1])
}

// splicer moves bytes from one socket to another inside the kernel.
type splicer struct {
	src, dst syscall.RawConn
	pipe     *pipe // nil unless bytes are moving
	most     int   // bytes of one fill
	call     func(from, to, n int) (moved int, errno syscall.Errno)
	// The result of fill or drain, whose signature has no room for it.
	n   int
	err error
	// tryFill and tryDrain as func values: making one allocates.
	fill, drain func(fd uintptr) bool
}

// Causes of a fallback to copy beside errors of system calls. Nothing was taken
// from the source.
var (
	errNoPipe = errors.New("pipe unavailable")
	errUrgent = errors.New("next byte is urgent data")
)

// splice moves bytes with splice(2), zero-copy.
func (d *direction) splice() error {
	s := &splicer{src: d.src, dst: d.dst, call: toldSplice}
	if canSpliceRaw(d.src, d.dst) {
		s.call = rawSplice
	}
	s.fill, s.drain = s.tryFill, s.tryDrain
	defer func() { s.pipe.release() }()
	for {
		d.arm()
		s.n, s.err, s.most = 0, nil, d.limitRead(maxSplice)
		if err := s.src.Read(s.fill); err != nil {
			return spliceError(d.flow.Src, err)
		}
		switch {
		case s.err != nil:
			return d.fallBack(s.err)
		case s.n == 0:
			return nil
		}
		filled := s.n
		d.holds(true)
		d.glance(filled)
		for s.pipe.held > 0 {
			s.n, s.err = 0, nil
			d.watch.begin()
			err := s.dst.Write(s.drain)
			d.watch.end()
			d.moved(s.n)
			switch {
			case err == nil && s.err != nil:
				err = d.unspliced(s)
			case err == nil && s.n == 0:
				err = io.ErrShortWrite
			}
			if err != nil {
				d.cut = true
				return spliceError(d.flow.Dst, err)
			}
		}
		if err := d.delayed(filled); err != nil {
			return err
		}
		d.rest(filled)
		if d.noSplice {
			return errFallback
		}
	}
}

// unspliced is called after splice(2) to the destination has failed with s.err. A
// sandbox may have refused it, so unspliced writes the bytes of the pipe with
// write(2). It returns s.err if that fails too.
func (d *direction) unspliced(s *splicer) error {
	buf := bufpool.Get(s.pipe.held)
	defer bufpool.Put(buf)
	for s.pipe.held > 0 {
		n, err := unix.Read(s.pipe.r, buf.B[:s.pipe.held])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return s.err
		}
		s.pipe.held -= n
		if d.write(buf.B[:n]) != nil {
			return s.err
		}
	}
	d.noSplice = true
	return nil
}

// tryFill moves bytes from the source into a pipe. If there are none, it releases
// the pipe and returns false, so that no pipe is held during the wait.
func (s *splicer) tryFill(fd uintptr) bool {
	if s.pipe == nil {
		var err error
		if s.pipe, err = borrowPipe(); err != nil {
			s.err = errNoPipe
			return true
		}
	}
	n, errno := s.call(int(fd), s.pipe.w, s.most)
	switch {
	case (errno == unix.EAGAIN || n == 0) && atUrgent(fd):
		s.err = errUrgent
		return true
	case errno == unix.EAGAIN:
		s.pipe.release()
		s.pipe = nil
		return false
	case errno != 0:
		s.err = errno
		return true
	}
	s.n = n
	s.pipe.held += n
	return true
}

// atUrgent reports whether the next byte is TCP urgent data. splice(2) never
// passes such a byte: it returns EAGAIN or 0 as if the socket were empty or the
// stream ended. A read skips the byte.
func atUrgent(fd uintptr) bool {
	mark, err := unix.IoctlGetInt(int(fd), unix.SIOCATMARK)
	return err == nil && mark != 0
}

// tryDrain moves bytes from the pipe to the destination. It returns false if the
// destination takes none now.
func (s *splicer) tryDrain(fd uintptr) bool {
	n, errno := s.call(s.pipe.r, int(fd), s.pipe.held)
	switch errno {
	case 0:
	case unix.EAGAIN:
		return false
	default:
		s.err = errno
		return true
	}
	s.n = n
	s.pipe.held -= n
	return true
}

// endOfStream returns the error of a direction in which copy has read the end of
// the stream: nil, or the error that splice(2) or readv(2) has consumed.
func (d *direction) endOfStream() error {
	if isSocketError(d.refusal) {
		return spliceError(d.flow.Src, d.refusal)
	}
	return nil
}
