package loadgen

import (
	"context"
	"net"
	"sync"

	"github.com/mtwire/mtwire/internal/netx"
)

// serve accepts connections from ln and calls handle for each, in a goroutine of
// its own. It closes a connection when handle returns. When ctx ends, or ln fails
// for another reason than a shortage of descriptors, it closes all connections,
// waits for the handlers and returns the cause. It closes ln when ctx ends.
func serve(ctx context.Context, ln net.Listener, handle func(ctx context.Context, conn net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel() // before the wait
	defer netx.CloseAfter(ctx, ln)()
	return netx.AcceptLoop(ctx, ln, func(conn net.Conn) {
		running.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			handle(ctx, conn)
		})
	}, nil)
}
