package loadgen

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// gate is a listener that can stop accepting for a while, so that another process
// with the same socket accepts in its place.
type gate struct {
	net.Listener

	noticed chan struct{} // Accept has noticed that the gate is shut
	opened  chan struct{}
	closed  chan struct{}
	once    sync.Once // closes closed
}

func newGate(ln net.Listener) *gate {
	return &gate{Listener: ln, noticed: make(chan struct{}), opened: make(chan struct{}), closed: make(chan struct{})}
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err == nil || !netx.IsTimeout(err) {
			return conn, err
		}
		for _, step := range []chan struct{}{g.noticed, g.opened} {
			select {
			case step <- struct{}{}:
			case <-g.closed:
				return nil, net.ErrClosed
			}
		}
	}
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// errNoGate means that a listener has no deadline, as all of package net have.
var errNoGate = errors.New("listener without a deadline")

// shut makes the next Accept wait, or the one that waits for a connection.
func (g *gate) shut() error { return g.setDeadline(time.Unix(1, 0)) }

func (g *gate) setDeadline(t time.Time) error {
	ln, ok := g.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return errNoGate
	}
	return ln.SetDeadline(t)
}

// awaitShut returns when Accept waits after shut: no connection is accepted from then
// on until open.
func (g *gate) awaitShut(ctx context.Context) error { return g.step(ctx, g.noticed) }

// open lets Accept go on.
func (g *gate) open(ctx context.Context) error {
	if err := g.setDeadline(time.Time{}); err != nil {
		return err
	}
	return g.step(ctx, g.opened)
}

func (g *gate) step(ctx context.Context, step chan struct{}) error {
	select {
	case <-step:
		return nil
	case <-g.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
