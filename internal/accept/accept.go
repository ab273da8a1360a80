// Package accept takes connections from a listener, and does not give up when
// the system is out of something for a while.
package accept

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// Each gives every connection that ln accepts to handle, one after the other,
// until ctx ends or ln fails for good, and returns why. Whoever ends ctx closes
// ln too, for an Accept that waits.
//
// When there are no descriptors, no memory or no watches of epoll's for another
// connection, or one was gone before it was accepted, it tries again after a
// pause. delayed is told of each such error, if it is not nil.
func Each(ctx context.Context, ln net.Listener, handle func(net.Conn), delayed func(error)) error {
	pause := time.Duration(0)
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			handle(conn)
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case !isPassing(err):
			return err
		}
		if delayed != nil {
			delayed(err)
		}
		pause = min(max(2*pause, minPause), maxPause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isPassing tells an Accept that failed for one connection, or for want of
// something, from a listener that is gone. The net package calls the former
// temporary, and has no other word for it; nor has it one for what epoll says,
// ENOSPC, when this user may watch no more sockets.
func isPassing(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary() ||
		errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOSPC)
}
