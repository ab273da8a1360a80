package loadgen

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// serve gives each connection from ln to handle, in a goroutine of its own, and
// closes it when handle returns. When ctx ends it closes ln and all of them,
// waits for the handlers, and returns why.
func serve(ctx context.Context, ln net.Listener, handle func(ctx context.Context, conn net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel() // before the wait
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			running.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				handle(ctx, conn)
			})
		case ctx.Err() != nil:
			return ctx.Err()
		case isPassing(err):
			time.Sleep(acceptPause)
		default:
			return err
		}
	}
}

// acceptPause is how long to wait for descriptors when there are none.
const acceptPause = 5 * time.Millisecond

// isPassing tells an Accept that failed for want of descriptors, or for one
// connection, from a listener that is gone.
func isPassing(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}
