package loadgen

import (
	"context"
	"io"
	"net"

	"github.com/mtwire/mtwire/internal/netx"
)

// ServeRaw is a TCP relay without protocol work, the baseline of a comparison: it
// dials upstream for each connection and runs io.Copy both ways. It serves until
// ctx ends or ln fails, closes ln and all connections, and returns the cause.
func ServeRaw(ctx context.Context, ln net.Listener, upstream string) error {
	return serve(ctx, ln, func(ctx context.Context, client net.Conn) {
		server, err := (&net.Dialer{}).DialContext(ctx, "tcp", upstream)
		if err != nil {
			return
		}
		defer server.Close()
		ctx, abort := context.WithCancel(ctx)
		defer abort()
		stop := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
		defer stop()
		done := make(chan struct{})
		go func() {
			defer close(done)
			copyOneWay(client, server, abort)
		}()
		copyOneWay(server, client, abort)
		<-done
	})
}

// copyOneWay copies src to dst until EOF, and then closes the sending direction of
// dst. It calls abort on an error, because the other direction is then useless.
func copyOneWay(dst, src net.Conn, abort func()) {
	_, err := io.Copy(dst, src)
	if err == nil {
		err = netx.CloseWrite(dst)
	}
	if err != nil {
		abort()
	}
}
