package splice

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipe is what splice(2) needs between two sockets. It costs two descriptors,
// so it is borrowed only while there are bytes to move.
type pipe struct {
	r, w    int
	held    int             // bytes in it
	cleanup runtime.Cleanup // for pipes that the pool forgets
}

var pipes = sync.Pool{}

// maxSplice is how much is moved at once. A pipe holds a quarter of that by
// default, which costs a tenth more time; a megabyte saves little more, and is
// what the kernel would keep for a client that is slow to read.
const maxSplice = 256 << 10

func borrowPipe() (*pipe, error) {
	if p, ok := pipes.Get().(*pipe); ok {
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// One user may have so much in pipes and no more; then this one stays small.
	unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, maxSplice)
	p := &pipe{r: fds[0], w: fds[1]}
	p.cleanup = runtime.AddCleanup(p, closeBoth, fds)
	return p, nil
}

// giveBack keeps an empty pipe for the next who needs one.
func (p *pipe) giveBack() {
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

// splicer moves bytes from one TCP socket to another without copying them.
type splicer struct {
	src, dst syscall.RawConn
	pipe     *pipe
	n        int
	err      error
	// Methods as func values, made once.
	fill, drain func(fd uintptr) bool
}

// What ends the splicing of a direction: nothing was taken from the source.
var (
	errNoPipe = errors.New("no pipe") // to be had now
	errUrgent = errors.New("an urgent byte comes next")
)

// splice moves bytes from socket to socket in the kernel.
func (d *direction) splice() error {
	s := &splicer{src: d.src, dst: d.dst}
	s.fill, s.drain = s.tryFill, s.tryDrain
	defer func() { s.pipe.giveBack() }()
	for first := true; ; first = false {
		d.arm()
		s.n, s.err = 0, nil
		err := s.src.Read(s.fill)
		if err == nil {
			err = s.err
		}
		switch {
		case err == errNoPipe, err == errUrgent, first && (err == unix.EINVAL || err == unix.ENOSYS):
			d.noSplice = true
			return errFallback
		case err != nil:
			return spliceError(d.flow.Src, err)
		case s.n == 0:
			return nil
		}
		for s.pipe.held > 0 {
			s.n, s.err = 0, nil
			if err = s.dst.Write(s.drain); err == nil {
				err = s.err
			}
			d.moved(s.n)
			if err == nil && s.n == 0 {
				err = io.ErrShortWrite
			}
			if err != nil {
				d.cut = true
				return spliceError(d.flow.Dst, err)
			}
		}
	}
}

func spliceError(conn net.Conn, err error) error {
	return &net.OpError{Op: "splice", Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: err}
}

// tryFill moves what has come from the source into a pipe. If nothing has, it
// gives the pipe back before it waits.
func (s *splicer) tryFill(fd uintptr) bool {
	if s.pipe == nil {
		var err error
		if s.pipe, err = borrowPipe(); err != nil {
			s.err = errNoPipe
			return true
		}
	}
	for {
		n, err := unix.Splice(int(fd), nil, s.pipe.w, nil, maxSplice, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch {
		case err == unix.EINTR:
			continue
		case (err == unix.EAGAIN || n == 0) && atUrgent(fd):
			s.err = errUrgent
			return true
		case err == unix.EAGAIN:
			s.pipe.giveBack()
			s.pipe = nil
			return false
		}
		s.n, s.err = int(n), err
		if err == nil {
			s.pipe.held += int(n)
		}
		return true
	}
}

// atUrgent says whether a byte of TCP's urgent data comes next. splice(2) stays
// in front of it for ever, and calls that an empty socket, or an ended stream. To
// read from the socket leaves the byte out.
func atUrgent(fd uintptr) bool {
	mark, err := unix.IoctlGetInt(int(fd), unix.SIOCATMARK)
	return err == nil && mark != 0
}

// tryDrain moves what is in the pipe to the destination.
func (s *splicer) tryDrain(fd uintptr) bool {
	for {
		n, err := unix.Splice(s.pipe.r, nil, int(fd), nil, s.pipe.held, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		}
		s.n, s.err = int(n), err
		if err == nil {
			s.pipe.held -= int(n)
		}
		return true
	}
}
