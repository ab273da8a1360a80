package loadgen

import (
	"context"
	"io"
	"net"
)

// ServeRaw is the relay that a proxy is compared with: for each connection one
// to upstream, and io.Copy both ways. It understands nothing of what it
// carries. It serves until ctx ends, and returns why.
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
			pour(client, server, abort)
		}()
		pour(server, client, abort)
		<-done
	})
}

// pour moves one direction to its end and passes that on. After an error the
// other direction has no purpose either.
func pour(dst, src net.Conn, abort func()) {
	_, err := io.Copy(dst, src)
	if tcp, ok := dst.(*net.TCPConn); ok && err == nil {
		err = tcp.CloseWrite()
	}
	if err != nil {
		abort()
	}
}
