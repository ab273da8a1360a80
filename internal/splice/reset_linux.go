package splice

import (
	"syscall"

	"github.com/mtwire/mtwire/internal/netx"
	"golang.org/x/sys/unix"
)

// noticeReset is waitReset for a direction that waits in the poller, which has events
// for it. It returns true if both directions have ended. Under the pair's mu.
func (d *direction) noticeReset(events uint32) (last bool) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) == 0 {
		return false
	}
	code := 0
	if events&unix.EPOLLERR != 0 {
		d.src.Control(func(fd uintptr) { code, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR) })
	}
	var err error
	if code != 0 { // otherwise a write has returned it already
		err = spliceError(d.flow.Src, syscall.Errno(code))
	}
	d.parked = false
	d.pair.reset(d, err)
	return d.pair.ended(d)
}

// wasReset returns the error of a reset if the source's connection is closed in both
// directions, for which there is no other reason if the pair has not half-closed it.
func (d *direction) wasReset() error {
	reset := false
	control(d.flow.Src, func(fd int) {
		events, errno := netx.PollNow(uintptr(fd), 0)
		reset = errno == 0 && events&unix.POLLHUP != 0
	})
	if reset {
		return spliceError(d.flow.Src, unix.ECONNRESET)
	}
	return nil
}

// waitReset waits for a socket error (ECONNRESET, EPIPE) of the source, whose
// stream has ended, and returns it. It returns nil at the read deadline, or when
// the socket is closed in both directions.
func (d *direction) waitReset() (err error) {
	d.src.Read(func(fd uintptr) bool {
		// The runtime's poller calls this on an error, as on other events.
		// poll(2) asks for the error without consuming it.
		events, _ := netx.PollNow(fd, 0)
		switch {
		case events&unix.POLLERR != 0:
			code, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
			if code != 0 { // otherwise a write has returned it already
				err = spliceError(d.flow.Src, syscall.Errno(code))
			}
			return true
		case events&unix.POLLHUP != 0:
			return true
		}
		return false
	})
	return err
}
