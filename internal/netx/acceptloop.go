package netx

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// AcceptLoop passes every connection that ln accepts to handle, one after the other,
// until ctx ends or ln fails permanently, and returns the cause. The caller closes ln
// when ctx ends, to unblock Accept.
//
// If there are no descriptors, no memory or no epoll watches for another connection,
// or a connection ended before it was accepted, AcceptLoop tries again after a pause.
// It calls delayed with each such error, unless delayed is nil.
func AcceptLoop(ctx context.Context, ln net.Listener, handle func(net.Conn), delayed func(error)) error {
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
		case !IsTemporary(err):
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

// CloseAfter closes c when ctx ends. The caller calls stop in the end, which waits for a
// Close that has begun: Accept and Read return while it goes on, and the address of a
// listener is not free before it has ended.
func CloseAfter(ctx context.Context, c io.Closer) (stop func()) {
	closed := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(closed)
		c.Close()
	})
	return func() {
		if !cancel() {
			<-closed
		}
	}
}

// IsTemporary reports whether Accept failed for one connection or for lack of a
// resource, and not because the listener is closed. Temporary is deprecated, but package
// net has no other method for this. It does not cover ENOMEM and ENOBUFS, nor ENOSPC,
// which epoll returns at the limit on a user's watches.
func IsTemporary(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary() || IsErrno(err, EMFILE, ENOMEM, ENOBUFS, ENOSPC)
}
