//go:build !linux

package splice

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Fallbacks for systems without splice(2) and epoll: bytes are copied, and
// directions are neither parked nor watched for a reset.

func (d *direction) splice() error { return d.copy(nil) }

func (d *direction) readvCopy(early []byte) error { return d.copy(early) }

func (d *direction) closeWrite() error { return closeWrite(d.flow.Dst) }

// endOfStream returns nil: only copy reads the source.
func (d *direction) endOfStream() error { return nil }

// wasReset returns nil: the next write reports a reset.
func (d *direction) wasReset() error { return nil }

// waitReset returns at once: the next write reports a reset of the source.
func (d *direction) waitReset() error { return nil }

// unacknowledged returns false: awaitDelivery does not wait.
func unacknowledged(net.Conn) bool { return false }

// queued returns 0: it is not known.
func queued(net.Conn) int { return 0 }

// Poller parks idle directions on Linux. Here park always fails, so that each
// direction keeps its goroutine.
type Poller struct {
	// Go is not used here.
	Go func(func())
}

// NewPoller returns a Poller.
func NewPoller() (*Poller, error) { return &Poller{}, nil }

// Serve returns ctx's error when ctx ends.
func (p *Poller) Serve(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Responds returns nil: nothing is woken.
func (p *Poller) Responds(context.Context) error { return nil }

// send is Dst.Write. Whether it waits is not known.
func (d *direction) send(b []byte) (int, error) {
	d.waited = true
	return d.flow.Dst.Write(b)
}

// socketRead returns nil: a Reader reads as usual.
func (d *direction) socketRead() func(fd uintptr, b []byte) (int, error) { return nil }

type (
	sender   struct{}
	pollSet  struct{}
	waiterID struct{}
)

func (d *direction) mute() {}

func (p *Poller) park(*direction) bool { return false }

func (p *Poller) unregister(*direction) {}

func (p *Poller) help() {}

func (p *Poller) chatting() bool { return false }

// Connect returns errors.ErrUnsupported.
func (p *Poller) Connect(context.Context, netip.AddrPort) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

func (p *Poller) leave(*direction) {}

// Await returns false: the caller waits in a goroutine.
func (p *Poller) Await(net.Conn, func()) (stop func(), ok bool) { return nil, false }

// AwaitEnd returns false: the end of the stream is not noticed.
func (p *Poller) AwaitEnd(net.Conn, bool, func()) (stop func(), ok bool) { return nil, false }
