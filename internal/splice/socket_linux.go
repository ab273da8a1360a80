package splice

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

// sender writes to a socket. It lives as long as a transfer.
type sender struct {
	try func(fd uintptr) bool // trySend as a func value: making one allocates
	// The argument and the results of trySend, whose signature has no room for them.
	b     []byte
	sent  int
	errno syscall.Errno
	waits int // how often the socket took no more
}

// send is Dst.Write, by system calls of which the scheduler is not told if Dst is a
// socket. While messages of others come, it moves those in between.
func (d *direction) send(b []byte) (sent int, err error) {
	for d.dst != nil && len(b) > pieceBytes && d.chatting() {
		n, err := d.sendPiece(b[:pieceBytes])
		if sent += n; err != nil {
			return sent, err
		}
		b = b[n:]
		d.pair.config.Poller.help()
	}
	n, err := d.sendPiece(b)
	return sent + n, err
}

// sendPiece is send, in one go.
func (d *direction) sendPiece(b []byte) (int, error) {
	if d.dst == nil || d.noRaw || len(b) == 0 {
		d.waited = true // for all that is known
		return d.flow.Dst.Write(b)
	}
	s := d.sender
	if s == nil {
		s = &sender{}
		s.try = s.trySend
		d.sender = s
	}
	s.b, s.sent, s.errno, s.waits = b, 0, 0, 0
	err := d.dst.Write(s.try)
	s.b = nil
	d.waited = d.waited || s.waits > 0
	switch {
	case err != nil:
		return s.sent, writeError(err)
	case s.errno == 0:
		return s.sent, nil
	case isSocketError(s.errno):
		return s.sent, &net.OpError{Op: "write", Net: d.flow.Dst.LocalAddr().Network(), Source: d.flow.Dst.LocalAddr(), Addr: d.flow.Dst.RemoteAddr(), Err: s.errno}
	}
	d.noRaw = true // a sandbox refuses send(2)
	n, err := d.flow.Dst.Write(b[s.sent:])
	return s.sent + n, err
}

// trySend sends until all of b is sent or the socket takes no more; then it returns
// false.
func (s *sender) trySend(fd uintptr) bool {
	for s.sent < len(s.b) {
		n, errno := netx.SendNow(fd, s.b[s.sent:])
		switch errno {
		case 0:
			s.sent += n
		case unix.EAGAIN:
			s.waits++
			return false
		default:
			s.errno = errno
			return true
		}
	}
	return true
}

// writeError makes err, of a RawConn, one of Write.
func writeError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		op.Op = "write"
	}
	return err
}

// socketRead returns the Read of a readbuf.Reader.
func (d *direction) socketRead() func(fd uintptr, b []byte) (int, error) {
	return func(fd uintptr, b []byte) (int, error) {
		if !d.noRaw {
			n, errno := netx.RecvNow(fd, b)
			switch {
			case errno == unix.EAGAIN, isSocketError(errno):
				return 0, errno
			case errno == 0 && n == 0:
				return 0, io.EOF
			case errno == 0:
				return n, nil
			}
			d.noRaw = true // a sandbox refuses recv(2)
		}
		n, err := syscall.Read(int(fd), b)
		switch {
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
