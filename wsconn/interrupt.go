package wsconn

import (
	"context"
	"net"
	"time"
)

// interrupt makes the end of ctx end all reads and writes of conn. The caller
// calls finish when it is done: the error is that of ctx if it ended before,
// and nil if conn is free of deadlines again.
func interrupt(ctx context.Context, conn net.Conn) (finish func() error) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() error {
		if !stop() {
			<-done
			return ctx.Err()
		}
		return conn.SetDeadline(time.Time{})
	}
}
